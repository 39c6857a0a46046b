#include "prefixes.hpp"

#include <stdexcept>
#include <string>

namespace erprm {

void Prefixes::address(std::uint32_t root, std::span<Digest> steps, bool finished) const {
    Digest path = roots_[problem(root)].address;
    for (std::size_t j = 0; j < steps.size(); ++j) {
        path = steps[j] = extended(path, steps[j], finished && j + 1 == steps.size());
        __builtin_prefetch(&table_[path.low & (table_.size() - 1)]);
    }
}

void Prefixes::reserve(std::size_t nodes) {
    links_.reserve(nodes);
    parents_.writable().reserve(nodes);
    depths_.writable().reserve(nodes);
}

void Prefixes::widen(std::size_t nodes) {
    if (nodes > static_cast<std::size_t>(max_nodes)) {
        throw std::invalid_argument("ledger: it holds at most " + std::to_string(max_nodes) + " prefixes");
    }
    std::size_t size = 2 * table_.size();
    while (size / 4 * 3 < nodes) {
        size *= 2;
    }
    reserve(size / 4 * 3);
    Array<Entry> table(size);
    table.swap(table_);
    for (std::size_t i = 0; i < table.size(); ++i) {
        if (table[i].number != 0) {
            table_[place({table[i].low, table[i].high})] = table[i];
        }
    }
}

std::uint32_t Prefixes::append(std::size_t entry, const Digest& address, std::uint32_t parent, std::int32_t depth) {
    const auto node = static_cast<std::uint32_t>(size());
    table_[entry] = {address.low, static_cast<std::uint32_t>(address.high), node + 1};
    links_.append({none, none, none});
    parents_.writable().append(parent == none ? -1 : static_cast<std::int64_t>(parent));
    depths_.writable().append(depth);
    return node;
}

std::uint32_t Prefixes::root(const Digest& address) {
    const std::size_t entry = place(address);
    if (table_[entry].number != 0) {
        return table_[entry].number - 1;
    }
    roots_.make_room(1);
    const std::uint32_t node = append(entry, address, none, 0);
    links_[node].next_sibling = static_cast<std::uint32_t>(roots_.size());
    roots_.append({address, node});
    return node;
}

std::uint32_t Prefixes::child(const Digest& address, std::uint32_t parent, std::int32_t depth) {
    const std::size_t entry = place(address);
    if (table_[entry].number != 0) {
        return table_[entry].number - 1;
    }
    const std::uint32_t node = append(entry, address, parent, depth);
    Link& above = links_[parent];
    (above.first_child == none ? above.first_child : links_[above.last_child].next_sibling) = node;
    above.last_child = node;
    return node;
}

std::int64_t Prefixes::bytes() const {
    return links_.bytes() + table_.bytes() + roots_.bytes() + parents_.values().bytes() + depths_.values().bytes();
}

}  // namespace erprm
