// One prefix: how it hangs in the tree of prefixes, what is wanted of it, which of its samples are taken and done, and how
// they went. Every completion of a prefix has a sample number 0, 1, 2, ...; a sample is taken when it is in flight or done.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

namespace erprm {

struct Run {  // samples first .. first + count - 1
    std::int64_t first, count;
};

class Node {
public:
    static constexpr std::uint32_t none = UINT32_MAX;
    enum class Result { ignored, in_flight, unasked };  // what a result was to the node

    explicit Node(std::uint32_t parent) : parent(parent) {}

    // Wanted, and neither taken nor given by the outcomes of solutions themselves.
    std::int64_t missing() const;
    Run lowest_free(std::int64_t limit) const;  // the first run of free samples, at most `limit` >= 1 long
    void take(Run run);                         // free samples only
    std::int64_t release(Run run);              // those in flight; returns how many
    Result finish(std::int32_t sample);
    Result finish_lowest();                     // the lowest sample in flight
    bool is_done(std::int32_t sample) const;
    std::vector<std::int32_t> done() const;
    bool has_samples() const { return taken() != 0 || own != 0; }
    void count(int outcome) {
        successes += outcome;
        trials += 1;
    }
    std::int64_t bytes_beyond() const;  // held outside of the node

private:
    struct Words {
        std::uint64_t taken = 0, done = 0;
    };

    struct More {  // samples from 64 on
        std::vector<Words> words;
        std::int64_t taken = 0;
    };

    std::int64_t taken() const { return std::popcount(words_.taken) + (more_ ? more_->taken : 0); }
    std::size_t words() const { return more_ ? 1 + more_->words.size() : 1; }
    Words word(std::size_t at) const { return at == 0 ? words_ : at < words() ? more_->words[at - 1] : Words{}; }
    Words& writable(std::size_t at);  // made when it does not exist yet
    void taken_changed(std::size_t at, std::int64_t change) {
        if (at != 0) {
            more_->taken += change;
        }
    }

    Words words_;  // samples 0 to 63
    std::unique_ptr<More> more_;

public:
    std::uint32_t want : 31 = 0;
    std::uint32_t closed : 1 = 0;                // a solution ended here: never sampled
    std::int32_t own = 0;                        // outcomes of solutions that count as samples
    std::int32_t successes = 0, trials = 0;
    std::uint32_t parent;                        // none: a problem's root
    std::uint32_t last_child = none;
    std::uint32_t next_sibling = none;           // after the last child comes the first; of a root: the number of its problem
    std::uint32_t work = 0;                      // schedule.hpp
};

static_assert(sizeof(Node) == 56);

}  // namespace erprm
