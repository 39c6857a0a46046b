#include "schedule.hpp"

namespace erprm {

void Schedule::set(std::uint32_t node, bool missing) {
    std::uint32_t before = nodes_[node].work;
    std::uint32_t now = nodes_[node].work = before ^ here;
    const std::uint32_t change = missing ? below : -below;
    while ((before == 0) != (now == 0)) {
        const std::uint32_t parent = nodes_[node].parent;
        if (parent == Node::none) {
            if (missing) {
                ready_.insert(node);
            } else {
                ready_.erase(node);
            }
            return;
        }
        before = nodes_[parent].work;
        now = nodes_[parent].work = before + change;
        node = parent;
    }
}

std::uint32_t Schedule::current() {
    if (cursor_ == Node::none || nodes_[cursor_root_].work == 0) {
        cursor_ = cursor_root_ = *ready_.begin();
    }
    return cursor_;
}

std::uint32_t Schedule::child_with_work(std::uint32_t parent, std::uint32_t after) const {
    const std::uint32_t last = nodes_[parent].last_child;
    if (after == last) {
        return Node::none;
    }
    std::uint32_t child = nodes_[after == Node::none ? last : after].next_sibling;
    while (nodes_[child].work == 0) {
        if (child == last) {
            return Node::none;
        }
        child = nodes_[child].next_sibling;
    }
    return child;
}

void Schedule::advance() {
    std::uint32_t node = cursor_;
    if (nodes_[node].work >= below) {
        cursor_ = child_with_work(node, Node::none);
        return;
    }
    while (node != cursor_root_) {
        const std::uint32_t parent = nodes_[node].parent;
        if (nodes_[parent].work >= (nodes_[node].work != 0 ? 2 * below : below)) {
            const std::uint32_t sibling = child_with_work(parent, node);
            if (sibling != Node::none) {
                cursor_ = sibling;
                return;
            }
        }
        node = parent;
    }
    cursor_ = node;  // the root again
}

std::int64_t Schedule::bytes() const { return static_cast<std::int64_t>(ready_.size() * (4 * sizeof(void*) + sizeof(std::uint64_t))); }

}  // namespace erprm
