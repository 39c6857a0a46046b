// In which order nodes with something missing are visited: depth-first within a problem, problem after problem.
//
// Every node knows how many of its children have something missing at or below them, so a walk enters only branches
// that lead to work, and a change is passed upwards only as far as it turns "nothing below" into "something below".
#pragma once

#include <cstdint>

#include "growth.hpp"
#include "prefixes.hpp"

namespace erprm {

class Schedule {
public:
    explicit Schedule(const Prefixes& prefixes) : prefixes_(prefixes) {}

    void reserve(std::size_t nodes);
    void extend();                               // to the nodes and problems there are, within what was reserved
    void set(std::uint32_t node, bool missing);  // a change only

    bool empty() const { return ready_problems_ == 0; }
    std::uint32_t current();  // where to go on; only when not empty
    void advance();           // to the next node, round and round within the problem while it has work
    std::int64_t bytes() const;

private:
    static constexpr std::uint32_t here = 1, below = 2;

    bool has_work(std::uint32_t node) const { return work_[node] != 0; }
    void set_ready(std::uint32_t problem, bool ready);
    std::uint32_t first_with_work(std::uint32_t node) const;  // among the node and its later siblings, or none

    const Prefixes& prefixes_;
    Array<std::uint32_t> work_;      // `here` if something is missing at the node, and `below` for each child that has work
    Array<std::uint64_t> ready_;     // a bit per problem: whether it has work
    std::size_t none_ready_below_ = 0;  // no bit is set in the words before this one
    std::int64_t ready_problems_ = 0;
    std::uint32_t cursor_ = Prefixes::none;
    std::uint32_t cursor_root_ = Prefixes::none;
};

}  // namespace erprm
