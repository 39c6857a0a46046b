#include "samples.hpp"

#include <algorithm>

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

// The words of samples 64 * word and on, word > 0; made when they do not exist yet.
Samples::Words& Samples::more_words(Slot& slot, std::size_t word) {
    if (slot.more == 0) {
        more_.emplace_back();
        slot.more = static_cast<std::uint32_t>(more_.size()) & 0x7fffffffU;
    }
    std::vector<Words>& words = more_[slot.more - 1].words;
    if (words.size() < word) {
        words.resize(word);
    }
    return words[word - 1];
}

Samples::Words Samples::words_or_none(const Slot& slot, std::size_t word) const {
    if (word == 0) {
        return slot.words;
    }
    return word < word_count(slot) ? more_[slot.more - 1].words[word - 1] : Words{};
}

Run Samples::search_free(std::uint32_t node, std::int64_t limit) {
    const Slot& slot = slots_[node];
    std::size_t word = slot.more == 0 ? 0 : more_[slot.more - 1].full_below;
    while (words_or_none(slot, word).taken == ~std::uint64_t{0}) {
        ++word;
    }
    if (slot.more != 0) {
        more_[slot.more - 1].full_below = word;
    }
    const std::int64_t first = 64 * static_cast<std::int64_t>(word) + std::countr_one(words_or_none(slot, word).taken);
    std::int64_t end = first;
    while (end - first < limit) {
        const std::uint64_t rest = words_or_none(slot, static_cast<std::size_t>(end / 64)).taken >> (end % 64);
        const int room = static_cast<int>(64 - end % 64);
        const int free = std::min(std::countr_zero(rest), room);
        end += free;
        if (free < room) {
            break;
        }
    }
    return {first, std::min(end - first, limit)};
}

void Samples::take_many(Slot& slot, Run run) {
    const std::int64_t end = run.first + run.count;
    for (std::int64_t sample = run.first; sample < end;) {
        const Piece part = piece(sample, end);
        words(slot, static_cast<std::size_t>(sample / 64)).taken |= part.bits;
        sample = part.end;
    }
    if (slot.more != 0) {
        More& more = more_[slot.more - 1];
        more.idle_below = std::min(more.idle_below, static_cast<std::size_t>(run.first / 64));
    }
}

std::int64_t Samples::release(std::uint32_t node, Run run) {
    Slot& slot = slots_[node];
    const std::int64_t end = std::min(run.first + run.count, 64 * static_cast<std::int64_t>(word_count(slot)));
    std::int64_t freed = 0;
    for (std::int64_t sample = run.first; sample < end;) {
        const Piece part = piece(sample, end);
        Words& here = words(slot, static_cast<std::size_t>(sample / 64));
        const std::uint64_t in_flight = here.taken & ~here.done & part.bits;
        here.taken &= ~in_flight;
        freed += std::popcount(in_flight);
        sample = part.end;
    }
    slot.taken_count -= static_cast<std::int32_t>(freed);
    if (slot.more != 0 && freed != 0) {
        More& more = more_[slot.more - 1];
        more.full_below = std::min(more.full_below, static_cast<std::size_t>(run.first / 64));
    }
    return freed;
}

Samples::Result Samples::finish_lowest(std::uint32_t node) {
    Slot& slot = slots_[node];
    if (slot.closed) {
        return Result::ignored;
    }
    for (std::size_t word = slot.more == 0 ? 0 : more_[slot.more - 1].idle_below; word < word_count(slot); ++word) {
        Words& here = words(slot, word);
        const std::uint64_t in_flight = here.taken & ~here.done;
        if (in_flight != 0) {
            here.done |= in_flight & -in_flight;
            return Result::in_flight;
        }
        if (slot.more != 0) {
            more_[slot.more - 1].idle_below = word + 1;
        }
    }
    return Result::ignored;
}

std::vector<std::int32_t> Samples::done(std::uint32_t node) const {
    const Slot& slot = slots_[node];
    std::vector<std::int32_t> samples;
    for (std::size_t word = 0; word < word_count(slot); ++word) {
        for (std::uint64_t bits = words_or_none(slot, word).done; bits != 0; bits &= bits - 1) {
            samples.push_back(static_cast<std::int32_t>(64 * word) + std::countr_zero(bits));
        }
    }
    return samples;
}

std::int64_t Samples::bytes() const {
    std::int64_t bytes = slots_.bytes() + bytes_of(more_);
    for (const More& more : more_) {
        bytes += bytes_of(more.words);
    }
    return bytes;
}

}  // namespace erprm
