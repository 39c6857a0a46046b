// What becomes of completions: recorded, given back, counted at the prefixes they pass through.
#include <algorithm>
#include <string>

#include "errors.hpp"
#include "ledger.hpp"

namespace erprm {
namespace {

void check_outcomes(std::span<const std::uint8_t> outcomes) {
    if (const auto bad = first_outside(outcomes, 2); bad != outcomes.end()) {
        refuse("outcomes", "0 or 1", *bad);
    }
}

void check_samples(std::span<const std::int32_t> samples) {
    if (const auto bad = first_outside(samples, Ledger::max_samples); bad != samples.end()) {
        refuse("samples", "0 to " + std::to_string(Ledger::max_samples - 1), *bad);
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
    check_samples(samples);
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    std::int32_t* const successes = successes_.writable().data();
    std::int32_t* const trials = trials_.writable().data();
    std::int64_t counted = 0;
    std::int64_t landed = 0;  // were in flight
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto node = static_cast<std::uint32_t>(nodes[i]);
        const std::int64_t before = samples_.missing(node);
        const Samples::Result result = samples.empty() ? samples_.finish_lowest(node) : samples_.finish(node, samples[i]);
        const bool known = result != Samples::Result::ignored;
        successes[node] += known ? outcomes[i] : 0;
        trials[node] += known ? 1 : 0;
        counted += known ? 1 : 0;
        landed += result == Samples::Result::in_flight ? 1 : 0;
        if (result == Samples::Result::unasked) {
            missing_changed(node, before);
        }
    }
    totals_.in_flight -= landed;
    totals_.done += counted;
    totals_.ignored += static_cast<std::int64_t>(nodes.size()) - counted;
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
    check_samples(samples);
    std::vector<std::uint8_t> flags(nodes.size());
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        flags[i] = samples_.is_done(static_cast<std::uint32_t>(nodes[i]), samples[i]) ? 1 : 0;
    }
    return flags;
}

}  // namespace erprm
