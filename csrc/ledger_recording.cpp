// What becomes of completions: recorded, given back, counted at the prefixes they pass through.
#include <algorithm>
#include <string>

#include "errors.hpp"
#include "ledger.hpp"

namespace erprm {
namespace {

void check_outcomes(std::span<const std::uint8_t> outcomes) {
    std::uint8_t bits = 0;
    for (const std::uint8_t outcome : outcomes) {
        bits |= outcome;
    }
    if (bits > 1) {
        refuse("outcomes", "0 or 1", *std::ranges::find_if(outcomes, [](std::uint8_t outcome) { return outcome > 1; }));
    }
}

}  // namespace

std::int64_t Ledger::record(std::span<const std::int64_t> nodes, std::span<const std::uint8_t> outcomes,
                            std::span<const std::int32_t> samples) {
    check_lengths("outcomes", "nodes", nodes.size(), outcomes.size());
    check_outcomes(outcomes);
    if (!samples.empty()) {
        check_lengths("samples", "nodes", nodes.size(), samples.size());
    }
    check_within("samples", samples, max_samples);
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    std::int64_t counted = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        Node& here = nodes_[node];
        const std::int64_t before = here.missing();
        const Node::Result result = samples.empty() ? here.finish_lowest() : here.finish(samples[i]);
        if (result == Node::Result::ignored) {
            totals_.ignored += 1;
            continue;
        }
        if (result == Node::Result::in_flight) {
            totals_.in_flight -= 1;
        } else {
            missing_changed(node, before);
        }
        here.count(outcomes[i]);
        counted += 1;
    }
    totals_.done += counted;
    return counted;
}

std::int64_t Ledger::release(std::span<const std::int64_t> nodes, std::span<const std::int32_t> first_samples,
                             std::span<const std::int32_t> counts) {
    check_lengths("first_samples", "nodes", nodes.size(), first_samples.size());
    check_lengths("counts", "nodes", nodes.size(), counts.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (first_samples[i] < 0 || first_samples[i] > max_samples) {
            refuse("first_samples", "0 to " + std::to_string(max_samples), first_samples[i]);
        }
        if (counts[i] < 0 || counts[i] > max_samples - first_samples[i]) {
            refuse("counts", "0 to " + std::to_string(max_samples - first_samples[i]), counts[i]);
        }
    }
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    std::int64_t released = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        const std::int64_t before = nodes_[node].missing();
        released += nodes_[node].release({first_samples[i], counts[i]});
        missing_changed(node, before);
    }
    totals_.in_flight -= released;
    return released;
}

std::vector<std::int64_t> Ledger::count_passing(std::span<const std::int64_t> roots, std::span<const std::string_view> steps,
                                                std::span<const std::int64_t> offsets, std::span<const std::int32_t> lengths,
                                                std::span<const std::uint8_t> outcomes) {
    const std::size_t texts = roots.size();
    check_lengths("solutions", "roots", texts, offsets.size() - 1);
    check_lengths("lengths", "roots", texts, lengths.size());
    check_lengths("outcomes", "roots", texts, outcomes.size());
    check_outcomes(outcomes);
    for (std::size_t r = 0; r < texts; ++r) {
        if (lengths[r] < 0 || lengths[r] > offsets[r + 1] - offsets[r]) {
            refuse("lengths", "0 to the text's number of steps (" + std::to_string(offsets[r + 1] - offsets[r]) + ")", lengths[r]);
        }
    }
    std::vector<std::int64_t> passed;
    const std::scoped_lock lock(mutex_);
    std::ranges::for_each(roots, [this](std::int64_t root) { check_root("roots", root); });
    for (std::size_t r = 0; r < texts; ++r) {
        const auto first = static_cast<std::size_t>(offsets[r]);
        const auto count = static_cast<std::size_t>(offsets[r + 1]) - first;
        Key key = root_key(roots[r]);
        for (std::size_t j = 0; j + 1 < count; ++j) {
            key = step_key(key, steps[first + j], false);
            const auto entry = index_.find(key);
            if (entry == index_.end()) {
                break;  // nor is a longer prefix known
            }
            Node& node = nodes_[entry->second];
            if (j >= static_cast<std::size_t>(lengths[r]) && !node.closed) {
                node.count(outcomes[r]);
                passed.push_back(entry->second);
            }
        }
    }
    totals_.passing += static_cast<std::int64_t>(passed.size());
    return passed;
}

std::vector<std::uint8_t> Ledger::recorded(std::span<const std::int64_t> nodes, std::span<const std::int32_t> samples) const {
    check_lengths("samples", "nodes", nodes.size(), samples.size());
    check_within("samples", samples, max_samples);
    std::vector<std::uint8_t> flags(nodes.size());
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        flags[i] = nodes_[static_cast<std::size_t>(nodes[i])].is_done(samples[i]) ? 1 : 0;
    }
    return flags;
}

}  // namespace erprm
