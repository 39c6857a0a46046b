// The completion ledger: which prefixes exist, how many completions each wants, which are in flight and which are done.
//
// Its parts: the trie of prefixes (prefixes.hpp), each node's samples (samples.hpp), the order in which work is handed out
// (schedule.hpp). Here they are kept in step with the counts and totals, behind one lock.
//
// Every completion of a node has a sample number 0, 1, 2, ...; a bit says whether it is taken (in flight or done) and
// another whether it is done. A restart that records the samples it finds on disk leaves exactly the others to do, and
// a sample is never counted twice.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "column.hpp"
#include "prefixes.hpp"
#include "samples.hpp"
#include "schedule.hpp"

namespace erprm {

// Runs of samples [first_samples[i], first_samples[i] + counts[i]) of nodes[i].
struct Batch {
    std::vector<std::int64_t> nodes;
    std::vector<std::int32_t> first_samples;
    std::vector<std::int32_t> counts;
};

struct Totals {
    std::int64_t problems = 0;   // roots
    std::int64_t solutions = 0;  // calls of add_solution
    std::int64_t steps = 0;      // steps of those solutions, before equal prefixes were merged
    std::int64_t nodes = 0;      // roots and prefixes
    std::int64_t closed = 0;     // prefixes that are never sampled
    std::int64_t own = 0;        // outcomes of solutions that were counted as samples of their prefixes
    std::int64_t passing = 0;    // outcomes of completions that were counted at prefixes they passed through
    std::int64_t missing = 0;    // samples wanted, neither in flight nor done
    std::int64_t in_flight = 0;
    std::int64_t done = 0;
    std::int64_t ignored = 0;    // records refused: the sample was done before, or the node was closed
};

// Every member may be called from any thread. Bad arguments throw std::invalid_argument and change nothing.
class Ledger {
public:
    static constexpr std::int32_t max_samples = 1 << 24;   // of one node
    static constexpr int unknown = -1;                     // an outcome that was not graded

    // Problems and steps are known by the digests of their texts (digest.hpp); those of steps are overwritten.
    std::vector<std::int64_t> add_problems(std::span<const Digest> keys);
    std::vector<std::int64_t> add_solution(std::int64_t root, std::span<Digest> steps, int outcome, bool finished,
                                           bool count_outcome);
    // Many at once: solution s has the steps offsets[s] .. offsets[s + 1]. Those before one whose outcome contradicts stay.
    std::vector<std::int64_t> add_solutions(std::span<const std::int64_t> roots, std::span<Digest> steps,
                                            std::span<const std::int64_t> offsets, std::span<const std::int32_t> outcomes,
                                            std::span<const std::uint8_t> finished, bool count_outcome);

    void want(std::span<const std::int64_t> nodes, std::span<const std::int32_t> counts);
    void want_all(std::int32_t count, bool roots);
    Batch next(std::int64_t max_completions);
    std::int64_t record(std::span<const std::int64_t> nodes, std::span<const std::uint8_t> outcomes,
                        std::span<const std::int32_t> samples);  // no samples: the lowest in flight of each node
    std::int64_t release(std::span<const std::int64_t> nodes, std::span<const std::int32_t> first_samples,
                         std::span<const std::int32_t> counts);
    void close(std::int64_t node, int outcome);

    // Texts that were sampled from the first lengths[r] of their steps: each counts once more, without a sample number, at the
    // open prefixes beyond these that it goes on from. Returns those prefixes, text after text.
    std::vector<std::int64_t> count_passing(std::span<const std::int64_t> roots, std::span<Digest> steps,
                                            std::span<const std::int64_t> offsets, std::span<const std::int32_t> lengths,
                                            std::span<const std::uint8_t> outcomes);

    struct Counts {
        Column<std::int32_t>::Snapshot successes;
        Column<std::int32_t>::Snapshot trials;
    };
    Counts counts() const;
    Column<std::int64_t>::Snapshot parents() const;
    Column<std::int32_t>::Snapshot depths() const;
    std::vector<std::int64_t> offsets() const;  // [nodes + 1]: trials summed over the nodes before
    std::vector<std::uint8_t> closed() const;   // [nodes]: 1 where a node is closed
    std::vector<std::int32_t> done_samples(std::int64_t node) const;
    std::vector<std::uint8_t> recorded(std::span<const std::int64_t> nodes, std::span<const std::int32_t> samples) const;
    Totals totals() const;
    std::int64_t bytes() const;  // memory held, without live snapshots that were written over

private:
    void make_room(std::size_t nodes);
    void extend();
    void check_root(const char* name, std::int64_t root) const;
    void add_path(std::uint32_t root, std::span<const Digest> addresses, int outcome, bool finished, bool count_outcome,
                  std::span<std::int64_t> path);
    void check_end(std::uint32_t node, int outcome) const;  // that a known outcome is the one it was closed with
    void close_locked(std::uint32_t node, int outcome);
    void count_own(std::uint32_t node, int outcome);
    void set_want(std::uint32_t node, std::int32_t count);
    void missing_changed(std::uint32_t node, std::int64_t before);
    bool hand_out(std::uint32_t node, std::int64_t max_completions, std::int64_t& given, Batch& batch);
    template <class Finish>
    std::int64_t count(std::span<const std::int64_t> nodes, std::span<const std::uint8_t> outcomes, Finish finish);
    void check_nodes(std::span<const std::int64_t> nodes) const;

    mutable std::mutex mutex_;
    Prefixes prefixes_;
    Samples samples_;
    Schedule schedule_{prefixes_};
    Column<std::int32_t> successes_;
    Column<std::int32_t> trials_;
    Totals totals_;
    std::size_t room_ = 0;  // nodes that all parts can hold
};

}  // namespace erprm
