// The completion ledger: which prefixes exist, how many completions each wants, which are in flight and which are done.
//
// A node (node.hpp) is a prefix, known by its key (digest.hpp): the same prefix reached by many solutions is one node. A
// solution that *ends* after a step has a node of its own there. In which order work is handed out: schedule.hpp.
//
// Every completion of a node has a sample number 0, 1, 2, ...; a bit says whether it is taken (in flight or done) and
// another whether it is done. A restart that records the samples it finds on disk leaves exactly the others to do, and
// a sample is never counted twice.
#pragma once

#include <cstdint>
#include <deque>
#include <memory_resource>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "digest.hpp"
#include "node.hpp"
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
    static constexpr std::int32_t max_samples = 1 << 16;  // of one node: 16 kB where all are taken
    static constexpr int unknown = -1;                    // an outcome that was not graded

    std::vector<std::int64_t> add_problems(std::span<const std::string_view> names);
    std::vector<std::int64_t> add_solution(std::int64_t root, std::span<const std::string_view> steps, int outcome, bool finished,
                                           bool count_outcome);
    // Many at once: solution s has the steps offsets[s] .. offsets[s + 1]. Those before one whose outcome contradicts stay.
    std::vector<std::int64_t> add_solutions(std::span<const std::int64_t> roots, std::span<const std::string_view> steps,
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
    std::vector<std::int64_t> count_passing(std::span<const std::int64_t> roots, std::span<const std::string_view> steps,
                                            std::span<const std::int64_t> offsets, std::span<const std::int32_t> lengths,
                                            std::span<const std::uint8_t> outcomes);

    struct Counts {
        std::vector<std::int32_t> successes, trials;
    };
    Counts counts() const;
    std::vector<std::int64_t> parents() const;  // -1 for roots
    std::vector<std::int32_t> depths() const;
    std::vector<std::int64_t> offsets() const;  // [nodes + 1]: trials summed over the nodes before
    std::vector<std::uint8_t> closed() const;   // [nodes]: 1 where a node is closed
    std::vector<std::int32_t> done_samples(std::int64_t node) const;
    std::vector<std::uint8_t> recorded(std::span<const std::int64_t> nodes, std::span<const std::int32_t> samples) const;
    Totals totals() const;
    std::int64_t bytes() const;

private:
    std::uint32_t intern(const Key& key, std::uint32_t parent);  // a root's parent is Node::none
    const Node* find(const Key& key) const;
    void check_root(const char* name, std::int64_t root) const;
    const Key& root_key(std::int64_t root) const { return root_keys_[nodes_[static_cast<std::size_t>(root)].next_sibling]; }
    void add_path(std::int64_t root, std::span<const std::string_view> steps, int outcome, bool finished, bool count_outcome,
                  std::span<std::int64_t> path);
    static void check_end(const Node& node, int outcome);  // that a known outcome is the one it was closed with
    void close_locked(std::uint32_t node, int outcome);
    void count_own(std::uint32_t node, int outcome);
    void set_want(std::uint32_t node, std::int32_t count);
    void missing_changed(std::uint32_t node, std::int64_t before);
    bool hand_out(std::uint32_t node, std::int64_t max_completions, std::int64_t& given, Batch& batch);
    void check_nodes(std::span<const std::int64_t> nodes) const;
    template <class Value>
    auto of_nodes(Value value) const;

    mutable std::mutex mutex_;
    std::deque<Node> nodes_;
    std::vector<Key> root_keys_;  // by the number of the problem
    std::pmr::unsynchronized_pool_resource pool_;
    std::pmr::unordered_map<Key, std::uint32_t, KeyHash> index_{&pool_};
    Schedule schedule_{nodes_};
    Totals totals_;
};

}  // namespace erprm
