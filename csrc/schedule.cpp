#include "schedule.hpp"

#include "growth.hpp"

namespace erprm {

void Schedule::make_room() { grow(work_); }

void Schedule::set(std::uint32_t node, bool missing) {
    bool before = work_[node].any();
    work_[node].here = missing ? 1 : 0;
    while (work_[node].any() != before) {
        const std::uint32_t parent = prefixes_.parent(node);
        if (parent == Prefixes::none) {
            const std::uint32_t problem = prefixes_.problem(node);
            if (before) {
                ready_.erase(problem);
            } else {
                ready_.insert(problem);
            }
            return;
        }
        const bool had_work = before;
        before = work_[parent].any();
        work_[parent].children += had_work ? -1 : 1;
        node = parent;
    }
}

std::uint32_t Schedule::current() {
    if (cursor_ == Prefixes::none || !work_[prefixes_.root(prefixes_.problem(cursor_))].any()) {
        cursor_ = prefixes_.root(*ready_.begin());
    }
    return cursor_;
}

std::uint32_t Schedule::first_with_work(std::uint32_t node) const {
    while (node != Prefixes::none && !work_[node].any()) {
        node = prefixes_.next_sibling(node);
    }
    return node;
}

void Schedule::advance() {
    std::uint32_t node = cursor_;
    if (work_[node].children != 0) {
        cursor_ = first_with_work(prefixes_.first_child(node));
        return;
    }
    for (std::uint32_t parent = prefixes_.parent(node); parent != Prefixes::none; parent = prefixes_.parent(node)) {
        if (work_[parent].children > (work_[node].any() ? 1U : 0U)) {
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

std::int64_t Schedule::bytes() const { return bytes_of(work_) + static_cast<std::int64_t>(ready_.size() * 5 * sizeof(void*)); }

}  // namespace erprm
