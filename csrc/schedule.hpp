// In which order nodes with something missing are visited: depth-first within a problem, problem after problem.
//
// A node's `work` says whether something is missing there and how many of its children have something missing at or below
// them, so a walk enters only branches that lead to work, and a change is passed upwards only as far as it turns "nothing
// below" into "something below".
#pragma once

#include <cstdint>
#include <deque>
#include <set>

#include "node.hpp"

namespace erprm {

class Schedule {
public:
    explicit Schedule(std::deque<Node>& nodes) : nodes_(nodes) {}

    void set(std::uint32_t node, bool missing);  // a change only
    bool empty() const { return ready_.empty(); }
    std::uint32_t current();                     // where to go on; only when not empty
    void advance();                              // to the next node, round and round within the problem while it has work
    std::int64_t bytes() const;

private:
    static constexpr std::uint32_t here = 1, below = 2;

    std::uint32_t child_with_work(std::uint32_t parent, std::uint32_t after) const;  // none: from the first child on, or no such child

    std::deque<Node>& nodes_;
    std::set<std::uint32_t> ready_;  // roots with work
    std::uint32_t cursor_ = Node::none;
    std::uint32_t cursor_root_ = Node::none;
};

}  // namespace erprm
