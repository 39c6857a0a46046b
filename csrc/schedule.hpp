// In which order nodes with something missing are visited: depth-first within a problem, problem after problem.
//
// Every node knows how many of its children have something missing at or below them, so a walk enters only branches
// that lead to work, and a change is passed upwards only as far as it turns "nothing below" into "something below".
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "prefixes.hpp"

namespace erprm {

class Schedule {
public:
    explicit Schedule(const Prefixes& prefixes) : prefixes_(prefixes) {}

    void make_room();
    void add() { work_.emplace_back(); }
    void set(std::uint32_t node, bool missing);  // a change only

    bool empty() const { return ready_.empty(); }
    std::uint32_t current();  // where to go on; only when not empty
    void advance();           // to the next node, round and round within the problem while it has work
    std::int64_t bytes() const;

private:
    struct Work {
        std::uint32_t here : 1 = 0;
        std::uint32_t children : 31 = 0;  // with work at or below them
        bool any() const { return here != 0 || children != 0; }
    };

    std::uint32_t first_with_work(std::uint32_t node) const;  // among the node and its later siblings, or none

    const Prefixes& prefixes_;
    std::vector<Work> work_;
    std::set<std::uint32_t> ready_;  // problems with work
    std::uint32_t cursor_ = Prefixes::none;
};

}  // namespace erprm
