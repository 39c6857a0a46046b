#include "schedule.hpp"

#include <algorithm>
#include <bit>

namespace erprm {

void Schedule::reserve(std::size_t nodes) {
    work_.reserve(nodes);
    ready_.reserve(nodes / 64 + 1);
}

void Schedule::extend() {
    work_.extend(prefixes_.size());
    ready_.extend((prefixes_.problems() + 63) / 64);
}

void Schedule::set_ready(std::uint32_t problem, bool ready) {
    const std::size_t word = problem / 64;
    ready_[word] ^= std::uint64_t{1} << (problem % 64);
    ready_problems_ += ready ? 1 : -1;
    none_ready_below_ = std::min(none_ready_below_, word);
}

void Schedule::set(std::uint32_t node, bool missing) {
    std::uint32_t before = work_[node];
    std::uint32_t now = work_[node] = before ^ here;
    const std::uint32_t change = missing ? below : -below;
    while ((before == 0) != (now == 0)) {
        const std::uint32_t parent = prefixes_.parent(node);
        if (parent == Prefixes::none) {
            set_ready(prefixes_.problem(node), missing);
            return;
        }
        before = work_[parent];
        now = work_[parent] = before + change;
        node = parent;
    }
}

std::uint32_t Schedule::current() {
    if (cursor_ == Prefixes::none || !has_work(cursor_root_)) {
        while (ready_[none_ready_below_] == 0) {
            ++none_ready_below_;
        }
        const auto problem = static_cast<std::uint32_t>(64 * none_ready_below_) +
                             static_cast<std::uint32_t>(std::countr_zero(ready_[none_ready_below_]));
        cursor_ = cursor_root_ = prefixes_.root_of(problem);
    }
    return cursor_;
}

std::uint32_t Schedule::first_with_work(std::uint32_t node) const {
    while (node != Prefixes::none && !has_work(node)) {
        node = prefixes_.next_sibling(node);
    }
    return node;
}

void Schedule::advance() {
    std::uint32_t node = cursor_;
    if (work_[node] >= below) {
        cursor_ = first_with_work(prefixes_.first_child(node));
        return;
    }
    while (node != cursor_root_) {
        const std::uint32_t parent = prefixes_.parent(node);
        if (work_[parent] >= (has_work(node) ? 2 * below : below)) {
            const std::uint32_t sibling = first_with_work(prefixes_.next_sibling(node));
            if (sibling != Prefixes::none) {
                cursor_ = sibling;
                return;
            }
        }
        node = parent;
    }
    cursor_ = node;  // the root again
}

std::int64_t Schedule::bytes() const { return work_.bytes() + ready_.bytes(); }

}  // namespace erprm
