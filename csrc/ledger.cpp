#include "ledger.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace erprm {
namespace {

constexpr std::uint32_t none = UINT32_MAX;
constexpr Digest problem_key{0x6572707200000001ULL, 0};      // any constant: no two kinds of node share a key
constexpr std::uint64_t ended_key = 0x6572707200000002ULL;   // added to the parent's digest for an ended solution

[[noreturn]] void refuse(const std::string& argument, const std::string& expected, std::int64_t found) {
    throw std::invalid_argument(argument + ": expected " + expected + ", found " + std::to_string(found));
}

void check_lengths(const char* name, std::size_t expected, std::size_t found) {
    if (expected != found) {
        refuse(name, "as many values as nodes (" + std::to_string(expected) + ")", static_cast<std::int64_t>(found));
    }
}

void check_outcome(int outcome) {
    if (outcome < Ledger::unknown || outcome > 1) {
        refuse("outcome", "0, 1 or -1 for not known", outcome);
    }
}

void check_want(std::int32_t count) {
    if (count < 0 || count > Ledger::max_samples) {
        refuse("n", "0 to " + std::to_string(Ledger::max_samples), count);
    }
}

template <class T>
std::int64_t bytes_of(const std::vector<T>& values) {
    return static_cast<std::int64_t>(values.capacity() * sizeof(T));
}

}  // namespace

Ledger::Ledger() : cursor_(none) { table_.assign(64, Entry{0, none}); }

// ---- interning

std::uint32_t Ledger::find(const Digest& digest) const {
    const std::size_t mask = table_.size() - 1;
    const auto tag = static_cast<std::uint32_t>(digest.high);
    for (std::size_t at = digest.low & mask; table_[at].node != none; at = (at + 1) & mask) {
        if (table_[at].tag == tag && links_[table_[at].node].digest == digest) {
            return table_[at].node;
        }
    }
    return none;
}

void Ledger::rehash(std::size_t size) {
    std::vector<Entry> table(size, Entry{0, none});
    const std::size_t mask = size - 1;
    for (const Entry& entry : table_) {
        if (entry.node == none) {
            continue;
        }
        std::size_t at = links_[entry.node].digest.low & mask;
        while (table[at].node != none) {
            at = (at + 1) & mask;
        }
        table[at] = entry;
    }
    table_ = std::move(table);
}

// Allocates everything that one more node may need, so that adding it cannot fail half-way.
void Ledger::make_room() {
    const std::size_t size = slots_.size();
    if (static_cast<std::int64_t>(size) >= max_nodes) {
        throw std::invalid_argument("ledger: it holds at most 2147483647 prefixes");
    }
    const auto grow = [size](auto& values) {
        if (values.capacity() == size) {
            values.reserve(std::max<std::size_t>(64, 2 * size));
        }
    };
    grow(slots_);
    grow(links_);
    grow(parents_.writable());
    grow(depths_.writable());
    grow(successes_.writable());
    grow(trials_.writable());
    if (2 * (size + 1) > table_.size()) {
        rehash(2 * table_.size());
    }
}

std::uint32_t Ledger::insert(const Digest& digest, std::uint32_t parent) {
    make_room();
    const auto node = static_cast<std::uint32_t>(slots_.size());
    std::uint32_t problem;
    if (parent == none) {
        problem = static_cast<std::uint32_t>(problems_.size());
        problems_.push_back({node, 0});
    } else {
        problem = links_[parent].problem;
        Link& above = links_[parent];
        (above.first_child == none ? above.first_child : links_[above.last_child].next_sibling) = node;
        above.last_child = node;
    }
    slots_.emplace_back();
    links_.push_back({digest, none, none, none, problem});
    parents_.writable().push_back(parent == none ? -1 : static_cast<std::int64_t>(parent));
    depths_.writable().push_back(parent == none ? 0 : depths_.values()[parent] + 1);
    successes_.writable().push_back(0);
    trials_.writable().push_back(0);
    const std::size_t mask = table_.size() - 1;
    std::size_t at = digest.low & mask;
    while (table_[at].node != none) {
        at = (at + 1) & mask;
    }
    table_[at] = {static_cast<std::uint32_t>(digest.high), node};
    return node;
}

std::int64_t Ledger::add_problem(std::string_view key) {
    const Digest address = digest(problem_key, key);
    const std::scoped_lock lock(mutex_);
    const std::uint32_t node = find(address);
    return node != none ? node : insert(address, none);
}

std::vector<std::int64_t> Ledger::add_solution(std::int64_t root, std::span<const std::string_view> steps, int outcome,
                                               bool finished, bool count_outcome) {
    check_outcome(outcome);
    if (steps.empty()) {
        throw std::invalid_argument("steps: expected at least one step, found none");
    }
    std::vector<std::int64_t> path;
    path.reserve(steps.size());
    const std::scoped_lock lock(mutex_);
    if (root < 0 || root >= static_cast<std::int64_t>(slots_.size()) || parents_.values()[static_cast<std::size_t>(root)] != -1) {
        refuse("root", "a node that add_problem returned", root);
    }
    auto parent = static_cast<std::uint32_t>(root);
    for (std::size_t j = 0; j < steps.size(); ++j) {
        Digest key = links_[parent].digest;
        if (finished && j + 1 == steps.size()) {
            key.high += ended_key;
        }
        const Digest address = digest(key, steps[j]);
        const std::uint32_t known = find(address);
        parent = known != none ? known : insert(address, parent);
        path.push_back(parent);
    }
    if (finished) {
        close_locked(parent, outcome);
    }
    totals_.solutions += 1;
    totals_.steps += static_cast<std::int64_t>(steps.size());
    if (count_outcome && outcome != unknown) {
        auto& successes = successes_.writable();
        auto& trials = trials_.writable();
        const auto count = [&](std::uint32_t node) {
            const std::int64_t before = missing(slots_[node]);
            slots_[node].own += 1;
            successes[node] += outcome;
            trials[node] += 1;
            totals_.own += 1;
            missing_changed(node, before);
        };
        count(static_cast<std::uint32_t>(root));
        for (std::size_t j = 0; j + (finished ? 1 : 0) < path.size(); ++j) {
            const auto node = static_cast<std::uint32_t>(path[j]);
            if (!slots_[node].closed) {
                count(node);
            }
        }
    }
    return path;
}

// ---- closing

void Ledger::close(std::int64_t node, int outcome) {
    check_outcome(outcome);
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    close_locked(static_cast<std::uint32_t>(node), outcome);
}

void Ledger::close_locked(std::uint32_t node, int outcome) {
    Slot& slot = slots_[node];
    const std::int32_t known = trials_.values()[node];
    if (!slot.closed && (slot.taken_count != 0 || slot.own != 0)) {
        refuse("node", "a prefix without samples to close", node);
    }
    if (slot.closed && known == 1 && outcome != unknown && outcome != successes_.values()[node]) {
        refuse("outcome", std::to_string(successes_.values()[node]) + ", with which prefix " + std::to_string(node) + " was closed",
               outcome);
    }
    if (!slot.closed) {
        const std::int64_t before = missing(slot);
        slot.closed = 1;
        totals_.closed += 1;
        missing_changed(node, before);
    }
    if (outcome != unknown) {
        successes_.writable()[node] = outcome;
        trials_.writable()[node] = 1;
    }
}

// ---- what is missing

std::int64_t Ledger::missing(const Slot& slot) {
    const std::int64_t open = std::int64_t{slot.want} - slot.own - slot.taken_count;
    return slot.closed || open < 0 ? 0 : open;
}

void Ledger::missing_changed(std::uint32_t node, std::int64_t before) {
    const std::int64_t change = missing(slots_[node]) - before;
    if (change == 0) {
        return;
    }
    const std::uint32_t index = links_[node].problem;
    Problem& problem = problems_[index];
    const bool was_ready = problem.missing > 0;
    problem.missing += change;
    totals_.missing += change;
    if (!was_ready) {
        ready_.insert(index);
    } else if (problem.missing == 0) {
        ready_.erase(index);
    }
}

void Ledger::want(std::span<const std::int64_t> nodes, std::span<const std::int32_t> counts) {
    check_lengths("n", nodes.size(), counts.size());
    std::for_each(counts.begin(), counts.end(), check_want);
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        const std::int64_t before = missing(slots_[node]);
        slots_[node].want = counts[i];
        missing_changed(node, before);
    }
}

void Ledger::want_all(std::int32_t count, bool roots) {
    check_want(count);
    const std::scoped_lock lock(mutex_);
    for (std::uint32_t node = 0; node < slots_.size(); ++node) {
        if (roots || parents_.values()[node] != -1) {
            const std::int64_t before = missing(slots_[node]);
            slots_[node].want = count;
            missing_changed(node, before);
        }
    }
}

// ---- handing out

std::size_t Ledger::word_count(const Slot& slot) const {
    return 1 + (slot.overflow == 0 ? 0 : overflow_[slot.overflow - 1].taken.size());
}

// The words that hold samples 64 * word and on; grown when they do not exist yet.
Ledger::Words Ledger::words(Slot& slot, std::size_t word) {
    if (word == 0) {
        return {&slot.taken, &slot.done};
    }
    if (slot.overflow == 0) {
        overflow_.emplace_back();
        slot.overflow = static_cast<std::uint32_t>(overflow_.size()) & 0x7fffffffU;
    }
    Overflow& more = overflow_[slot.overflow - 1];
    if (more.done.size() < word) {
        more.taken.resize(word);
        more.done.resize(word);
    }
    return {&more.taken[word - 1], &more.done[word - 1]};
}

// The node after this one in depth-first order within its problem, the root after the last.
std::uint32_t Ledger::after(std::uint32_t node) const {
    if (links_[node].first_child != none) {
        return links_[node].first_child;
    }
    while (links_[node].next_sibling == none && parents_.values()[node] != -1) {
        node = static_cast<std::uint32_t>(parents_.values()[node]);
    }
    return links_[node].next_sibling != none ? links_[node].next_sibling : node;
}

// Hands out the lowest free samples of a node as whole runs; false when the next run no longer fits.
bool Ledger::hand_out(std::uint32_t node, std::int64_t max_completions, std::int64_t& given, Batch& batch) {
    Slot& slot = slots_[node];
    std::int64_t sample = 0;
    while (missing(slot) > 0) {
        std::int64_t first = -1;
        std::int64_t end = -1;
        for (const std::int64_t limit = missing(slot); first < 0 || end - first < limit;) {
            const auto word = static_cast<std::size_t>(sample / 64);
            const int shift = static_cast<int>(sample % 64);
            const std::uint64_t rest = word < word_count(slot) ? *words(slot, word).taken >> shift : 0;
            if (first < 0) {
                const int skip = std::min(std::countr_one(rest), 64 - shift);
                sample += skip;
                if (shift + skip < 64) {
                    first = end = sample;
                }
            } else {
                const int free = std::min(std::countr_zero(rest), 64 - shift);
                end = std::min(sample + free, first + limit);
                sample = end;
                if (shift + free < 64) {
                    break;
                }
            }
        }
        if (given > 0 && given + end - first > max_completions) {
            return false;
        }
        end = std::min(end, first + max_completions - given);
        const std::int64_t count = end - first;
        batch.nodes.push_back(node);
        batch.first_samples.push_back(static_cast<std::int32_t>(first));
        batch.counts.push_back(static_cast<std::int32_t>(count));
        for (std::int64_t at = first; at < end;) {
            const int shift = static_cast<int>(at % 64);
            const std::int64_t width = std::min<std::int64_t>(64 - shift, end - at);
            *words(slot, static_cast<std::size_t>(at / 64)).taken |= (~std::uint64_t{0} >> (64 - width)) << shift;
            at += width;
        }
        const std::int64_t before = missing(slot);
        slot.taken_count += static_cast<std::int32_t>(count);
        missing_changed(node, before);
        totals_.in_flight += count;
        given += count;
        sample = end;
        if (given >= max_completions) {
            return false;
        }
    }
    return true;
}

Batch Ledger::next(std::int64_t max_completions) {
    if (max_completions < 1) {
        refuse("max_completions", "at least 1", max_completions);
    }
    Batch batch;
    std::int64_t given = 0;
    const std::scoped_lock lock(mutex_);
    while (!ready_.empty()) {
        if (cursor_ == none || problems_[links_[cursor_].problem].missing == 0) {
            cursor_ = problems_[*ready_.begin()].root;
        }
        if (!hand_out(cursor_, max_completions, given, batch)) {
            break;
        }
        cursor_ = after(cursor_);
    }
    return batch;
}

// ---- results

// Marks a sample as done; false when that was already so, or when the node takes none.
bool Ledger::record_one(std::uint32_t node, std::int32_t sample) {
    Slot& slot = slots_[node];
    if (slot.closed) {
        return false;
    }
    if (sample < 0) {  // the lowest that is in flight
        for (std::size_t word = 0; word < word_count(slot); ++word) {
            const Words bits = words(slot, word);
            const std::uint64_t in_flight = *bits.taken & ~*bits.done;
            if (in_flight != 0) {
                *bits.done |= in_flight & -in_flight;
                totals_.in_flight -= 1;
                return true;
            }
        }
        return false;
    }
    const Words bits = words(slot, static_cast<std::size_t>(sample / 64));
    const std::uint64_t bit = std::uint64_t{1} << (sample % 64);
    if (*bits.done & bit) {
        return false;
    }
    *bits.done |= bit;
    if (*bits.taken & bit) {
        totals_.in_flight -= 1;
    } else {
        const std::int64_t before = missing(slot);
        *bits.taken |= bit;
        slot.taken_count += 1;
        missing_changed(node, before);
    }
    return true;
}

std::int64_t Ledger::record(std::span<const std::int64_t> nodes, std::span<const std::uint8_t> outcomes,
                            std::span<const std::int32_t> samples) {
    check_lengths("outcomes", nodes.size(), outcomes.size());
    for (const std::uint8_t outcome : outcomes) {
        if (outcome > 1) {
            refuse("outcomes", "0 or 1", outcome);
        }
    }
    if (!samples.empty()) {
        check_lengths("samples", nodes.size(), samples.size());
    }
    for (const std::int32_t sample : samples) {
        if (sample < 0 || sample >= max_samples) {
            refuse("samples", "0 to " + std::to_string(max_samples - 1), sample);
        }
    }
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    auto& successes = successes_.writable();
    auto& trials = trials_.writable();
    std::int64_t counted = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        if (record_one(node, samples.empty() ? -1 : samples[i])) {
            successes[node] += outcomes[i];
            trials[node] += 1;
            totals_.done += 1;
            counted += 1;
        } else {
            totals_.ignored += 1;
        }
    }
    return counted;
}

std::int64_t Ledger::release(std::span<const std::int64_t> nodes, std::span<const std::int32_t> first_samples,
                             std::span<const std::int32_t> counts) {
    check_lengths("first_samples", nodes.size(), first_samples.size());
    check_lengths("counts", nodes.size(), counts.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (first_samples[i] < 0 || first_samples[i] > max_samples) {
            refuse("first_samples", "0 to " + std::to_string(max_samples), first_samples[i]);
        }
        if (counts[i] < 0 || counts[i] > max_samples - first_samples[i]) {
            refuse("counts", "0 to " + std::to_string(max_samples - first_samples[i]), counts[i]);
        }
    }
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    std::int64_t released = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        Slot& slot = slots_[node];
        const std::int64_t end = std::min<std::int64_t>(first_samples[i] + std::int64_t{counts[i]},
                                                        64 * static_cast<std::int64_t>(word_count(slot)));
        const std::int64_t before = missing(slot);
        std::int32_t freed = 0;
        for (std::int64_t sample = first_samples[i]; sample < end; ++sample) {
            const Words bits = words(slot, static_cast<std::size_t>(sample / 64));
            const std::uint64_t bit = std::uint64_t{1} << (sample % 64);
            if (*bits.taken & ~*bits.done & bit) {
                *bits.taken &= ~bit;
                freed += 1;
            }
        }
        slot.taken_count -= freed;
        missing_changed(node, before);
        released += freed;
    }
    totals_.in_flight -= released;
    return released;
}

// ---- reading

void Ledger::check_nodes(std::span<const std::int64_t> nodes) const {
    const auto size = static_cast<std::int64_t>(slots_.size());
    for (const std::int64_t node : nodes) {
        if (node < 0 || node >= size) {
            refuse("nodes", "a node below " + std::to_string(size), node);
        }
    }
}

Ledger::Counts Ledger::counts() const {
    const std::scoped_lock lock(mutex_);
    return {successes_.snapshot(), trials_.snapshot()};
}

Column<std::int64_t>::Snapshot Ledger::parents() const {
    const std::scoped_lock lock(mutex_);
    return parents_.snapshot();
}

Column<std::int32_t>::Snapshot Ledger::depths() const {
    const std::scoped_lock lock(mutex_);
    return depths_.snapshot();
}

std::vector<std::int64_t> Ledger::offsets() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::int64_t> sums(slots_.size() + 1, 0);
    for (std::size_t node = 0; node < slots_.size(); ++node) {
        sums[node + 1] = sums[node] + trials_.values()[node];
    }
    return sums;
}

std::vector<std::uint8_t> Ledger::closed() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::uint8_t> flags(slots_.size());
    std::transform(slots_.begin(), slots_.end(), flags.begin(), [](const Slot& slot) { return slot.closed; });
    return flags;
}

std::vector<std::int32_t> Ledger::done_samples(std::int64_t node) const {
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    const Slot& slot = slots_[static_cast<std::size_t>(node)];
    std::vector<std::int32_t> samples;
    for (std::size_t word = 0; word < word_count(slot); ++word) {
        std::uint64_t bits = word == 0 ? slot.done : overflow_[slot.overflow - 1].done[word - 1];
        for (; bits != 0; bits &= bits - 1) {
            samples.push_back(static_cast<std::int32_t>(64 * word) + std::countr_zero(bits));
        }
    }
    return samples;
}

Totals Ledger::totals() const {
    const std::scoped_lock lock(mutex_);
    Totals totals = totals_;
    totals.problems = static_cast<std::int64_t>(problems_.size());
    totals.nodes = static_cast<std::int64_t>(slots_.size());
    return totals;
}

std::int64_t Ledger::bytes() const {
    const std::scoped_lock lock(mutex_);
    std::int64_t bytes = bytes_of(slots_) + bytes_of(links_) + bytes_of(overflow_) + bytes_of(problems_) + bytes_of(table_) +
                         bytes_of(parents_.values()) + bytes_of(depths_.values()) + bytes_of(successes_.values()) +
                         bytes_of(trials_.values());
    for (const Overflow& more : overflow_) {
        bytes += bytes_of(more.taken) + bytes_of(more.done);
    }
    return bytes;
}

}  // namespace erprm
