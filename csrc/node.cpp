#include "node.hpp"

#include <algorithm>
#include <bit>

namespace erprm {
namespace {

// Bits of the run that fall into a word, and the sample after them.
struct Piece {
    std::uint64_t bits;
    std::int64_t end;
};

Piece piece(std::int64_t sample, std::int64_t end) {
    const std::int64_t width = std::min<std::int64_t>(64 - sample % 64, end - sample);
    return {(~std::uint64_t{0} >> (64 - width)) << (sample % 64), sample + width};
}

}  // namespace

std::int64_t Node::missing() const {
    return closed ? 0 : std::max<std::int64_t>(0, std::int64_t{want} - own - taken());
}

Node::Words& Node::writable(std::size_t at) {
    if (at == 0) {
        return words_;
    }
    if (!more_) {
        more_ = std::make_unique<More>();
    }
    if (more_->words.size() < at) {
        more_->words.resize(at);
    }
    return more_->words[at - 1];
}

Run Node::lowest_free(std::int64_t limit) const {
    std::size_t at = 0;
    while (word(at).taken == ~std::uint64_t{0}) {
        ++at;
    }
    const std::int64_t first = 64 * static_cast<std::int64_t>(at) + std::countr_one(word(at).taken);
    std::int64_t end = first;
    while (end - first < limit) {
        const int room = static_cast<int>(64 - end % 64);
        const int free = std::min(std::countr_zero(word(static_cast<std::size_t>(end / 64)).taken >> (end % 64)), room);
        end += free;
        if (free < room) {
            break;
        }
    }
    return {first, std::min(end - first, limit)};
}

void Node::take(Run run) {
    const std::int64_t end = run.first + run.count;
    for (std::int64_t sample = run.first; sample < end;) {
        const Piece part = piece(sample, end);
        const auto at = static_cast<std::size_t>(sample / 64);
        writable(at).taken |= part.bits;
        taken_changed(at, part.end - sample);
        sample = part.end;
    }
}

std::int64_t Node::release(Run run) {
    const std::int64_t end = std::min(run.first + run.count, 64 * static_cast<std::int64_t>(words()));
    std::int64_t freed = 0;
    for (std::int64_t sample = run.first; sample < end;) {
        const Piece part = piece(sample, end);
        const auto at = static_cast<std::size_t>(sample / 64);
        Words& here = writable(at);
        const std::uint64_t in_flight = here.taken & ~here.done & part.bits;
        here.taken &= ~in_flight;
        taken_changed(at, -std::popcount(in_flight));
        freed += std::popcount(in_flight);
        sample = part.end;
    }
    return freed;
}

Node::Result Node::finish(std::int32_t sample) {
    if (closed) {
        return Result::ignored;
    }
    const auto at = static_cast<std::size_t>(sample / 64);
    Words& here = writable(at);
    const std::uint64_t bit = std::uint64_t{1} << (sample % 64);
    if (here.done & bit) {
        return Result::ignored;
    }
    here.done |= bit;
    if (here.taken & bit) {
        return Result::in_flight;
    }
    here.taken |= bit;
    taken_changed(at, 1);
    return Result::unasked;
}

Node::Result Node::finish_lowest() {
    for (std::size_t at = 0; !closed && at < words(); ++at) {
        Words& here = writable(at);
        const std::uint64_t in_flight = here.taken & ~here.done;
        if (in_flight != 0) {
            here.done |= in_flight & -in_flight;
            return Result::in_flight;
        }
    }
    return Result::ignored;
}

bool Node::is_done(std::int32_t sample) const { return word(static_cast<std::size_t>(sample / 64)).done >> (sample % 64) & 1; }

std::vector<std::int32_t> Node::done() const {
    std::vector<std::int32_t> samples;
    for (std::size_t at = 0; at < words(); ++at) {
        for (std::uint64_t bits = word(at).done; bits != 0; bits &= bits - 1) {
            samples.push_back(static_cast<std::int32_t>(64 * at) + std::countr_zero(bits));
        }
    }
    return samples;
}

std::int64_t Node::bytes_beyond() const {
    return more_ ? static_cast<std::int64_t>(sizeof(More) + more_->words.capacity() * sizeof(Words)) : 0;
}

}  // namespace erprm
