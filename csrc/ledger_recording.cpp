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

// Counts the outcomes that `finish(node, i)` does not ignore; returns how many.
template <class Finish>
std::int64_t Ledger::count(std::span<const std::int64_t> nodes, std::span<const std::uint8_t> outcomes, Finish finish) {
    std::int32_t* const successes = successes_.writable().data();
    std::int32_t* const trials = trials_.writable().data();
    std::int64_t ignored = 0;
    std::int64_t unasked = 0;  // were not in flight
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        const Samples::Result result = finish(node, i);
        if (result != Samples::Result::in_flight) {
            if (result == Samples::Result::ignored) {
                ++ignored;
                continue;
            }
            ++unasked;
            missing_changed(node, samples_.missing_before_taking(node));
        }
        successes[node] += outcomes[i];
        trials[node] += 1;
    }
    const std::int64_t counted = static_cast<std::int64_t>(nodes.size()) - ignored;
    totals_.in_flight -= counted - unasked;
    totals_.done += counted;
    totals_.ignored += ignored;
    return counted;
}

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
    if (samples.empty()) {
        return count(nodes, outcomes, [this](std::uint32_t node, std::size_t) { return samples_.finish_lowest(node); });
    }
    return count(nodes, outcomes, [this, samples](std::uint32_t node, std::size_t i) { return samples_.finish(node, samples[i]); });
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
        const std::int64_t before = samples_.missing(node);
        released += samples_.release(node, {first_samples[i], counts[i]});
        missing_changed(node, before);
    }
    totals_.in_flight -= released;
    return released;
}

std::vector<std::int64_t> Ledger::count_passing(std::span<const std::int64_t> roots, std::span<Digest> steps,
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
    Array<std::int32_t>& successes = successes_.writable();
    Array<std::int32_t>& trials = trials_.writable();
    for (std::size_t r = 0; r < texts; ++r) {
        const std::span<Digest> text = steps.subspan(static_cast<std::size_t>(offsets[r]),
                                                     static_cast<std::size_t>(offsets[r + 1] - offsets[r]));
        prefixes_.address(static_cast<std::uint32_t>(roots[r]), text, false);
        for (std::size_t j = static_cast<std::size_t>(lengths[r]); j + 1 < text.size(); ++j) {
            const std::uint32_t node = prefixes_.find(text[j]);
            if (node == Prefixes::none) {
                break;  // nor is a longer prefix known
            }
            if (!samples_.closed(node)) {
                successes[node] += outcomes[r];
                trials[node] += 1;
                passed.push_back(node);
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
        flags[i] = samples_.is_done(static_cast<std::uint32_t>(nodes[i]), samples[i]) ? 1 : 0;
    }
    return flags;
}

}  // namespace erprm
