// Per node: how many outcomes are wanted and which sample numbers are taken (in flight or done) and which are done.
// Samples 0 to 63 are two words in the node's slot; only nodes with more hold anything besides. Without a lock.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "growth.hpp"

namespace erprm {

struct Run {  // samples first .. first + count - 1
    std::int64_t first, count;
};

class Samples {
public:
    enum class Result { ignored, in_flight, unasked };  // what a result was to the node

    void reserve(std::size_t nodes) { slots_.reserve(nodes); }
    void extend(std::size_t nodes) { slots_.extend(nodes); }  // within what was reserved
    std::size_t size() const { return slots_.size(); }

    void set_want(std::uint32_t node, std::int32_t count) { slots_[node].want = count; }
    void add_own(std::uint32_t node) { slots_[node].own += 1; }
    bool closed(std::uint32_t node) const { return slots_[node].closed; }
    void close(std::uint32_t node) { slots_[node].closed = 1; }
    bool has_any(std::uint32_t node) const { return slots_[node].taken_count != 0 || slots_[node].own != 0; }

    // Wanted, and neither taken nor given by the outcomes of solutions themselves.
    std::int64_t missing(std::uint32_t node) const {
        const Slot& slot = slots_[node];
        const std::int64_t open = std::int64_t{slot.want} - slot.own - slot.taken_count;
        return slot.closed || open < 0 ? 0 : open;
    }

    // What was missing before one sample more was taken.
    std::int64_t missing_before_taking(std::uint32_t node) const {
        const Slot& slot = slots_[node];
        return std::max<std::int64_t>(0, std::int64_t{slot.want} - slot.own - slot.taken_count + 1);
    }

    // The first run of free samples, at most `limit` >= 1 long.
    Run lowest_free(std::uint32_t node, std::int64_t limit) {
        const Slot& slot = slots_[node];
        const int first = std::countr_one(slot.words.taken);
        if (first + limit > 64 || slot.words.taken >> (first & 63) != 0) {  // more than one word, or holes
            return search_free(node, limit);
        }
        return {first, limit};
    }

    void take(std::uint32_t node, Run run) {  // free samples only
        Slot& slot = slots_[node];
        slot.taken_count += static_cast<std::int32_t>(run.count);
        if (slot.more != 0 || run.first + run.count > 64) {
            take_many(slot, run);
        } else if (run.count > 0) {
            slot.words.taken |= ~std::uint64_t{0} >> (64 - run.count) << run.first;
        }
    }

    std::int64_t release(std::uint32_t node, Run run);        // those in flight; returns how many

    Result finish(std::uint32_t node, std::int32_t sample) {
        Slot& slot = slots_[node];
        if (slot.closed) {
            return Result::ignored;
        }
        Words& words = sample < 64 ? slot.words : more_words(slot, static_cast<std::size_t>(sample / 64));
        const std::uint64_t bit = std::uint64_t{1} << (sample % 64);
        if (words.done & bit) {
            return Result::ignored;
        }
        words.done |= bit;
        if (words.taken & bit) {
            return Result::in_flight;
        }
        words.taken |= bit;
        slot.taken_count += 1;
        return Result::unasked;
    }
    Result finish_lowest(std::uint32_t node);  // the lowest sample in flight

    bool is_done(std::uint32_t node, std::int32_t sample) const {
        return words_or_none(slots_[node], static_cast<std::size_t>(sample / 64)).done >> (sample % 64) & 1;
    }
    std::vector<std::int32_t> done(std::uint32_t node) const;
    std::int64_t bytes() const;

private:
    struct Words {
        std::uint64_t taken = 0, done = 0;
    };
    struct Slot {  // what recording touches, in half a cache line
        Words words;
        std::int32_t want = 0;
        std::int32_t own = 0;
        std::int32_t taken_count = 0;
        std::uint32_t more : 31 = 0;  // 1 + index into more_, 0 for none
        std::uint32_t closed : 1 = 0;
    };
    struct More {  // samples from 64 on
        std::vector<Words> words;
        std::size_t full_below = 0;  // all samples of the words before this one are taken
        std::size_t idle_below = 0;  // no sample of the words before this one is in flight
    };

    Run search_free(std::uint32_t node, std::int64_t limit);
    void take_many(Slot& slot, Run run);
    Words& more_words(Slot& slot, std::size_t word);
    Words& words(Slot& slot, std::size_t word) { return word == 0 ? slot.words : more_words(slot, word); }
    Words words_or_none(const Slot& slot, std::size_t word) const;
    std::size_t word_count(const Slot& slot) const { return slot.more == 0 ? 1 : 1 + more_[slot.more - 1].words.size(); }

    Array<Slot> slots_;
    std::vector<More> more_;
};

}  // namespace erprm
