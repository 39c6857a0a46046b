#include "majority.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "digest.hpp"
#include "packing.hpp"

namespace erprm {
namespace {

struct DigestHash {
    std::size_t operator()(const Digest& value) const { return value.first; }
};

struct Votes {
    std::size_t first;
    double sum;
};

}  // namespace

std::vector<std::int64_t> answer_codes(std::span<const std::string_view> answers) {
    std::vector<std::int64_t> codes(answers.size(), -1);
    std::unordered_map<Digest, std::int64_t, DigestHash> known;
    for (std::size_t i = 0; i < answers.size(); ++i) {
        if (answers[i].data() != nullptr) {
            codes[i] = known.try_emplace(digest(answers[i]), static_cast<std::int64_t>(i)).first->second;
        }
    }
    return codes;
}

Majority majority(std::span<const std::int64_t> codes, std::span<const std::int64_t> offsets, std::span<const double> weights) {
    check_offsets("offsets", offsets, codes.size());
    if (!weights.empty() && weights.size() != codes.size()) {
        throw std::invalid_argument("weights: expected as many values as answers (" + std::to_string(codes.size()) + "), found " +
                                    std::to_string(weights.size()));
    }
    for (const double weight : weights) {
        if (!std::isfinite(weight)) {
            throw std::invalid_argument("weights: expected finite numbers, found " + std::to_string(weight));
        }
    }
    Majority result;
    std::vector<Votes> ballot;
    std::unordered_map<std::int64_t, std::size_t> place;
    for (std::size_t group = 0; group + 1 < offsets.size(); ++group) {
        ballot.clear();
        place.clear();
        for (auto i = static_cast<std::size_t>(offsets[group]); i < static_cast<std::size_t>(offsets[group + 1]); ++i) {
            if (codes[i] < 0) {
                continue;
            }
            const auto [found, is_new] = place.try_emplace(codes[i], ballot.size());
            if (is_new) {
                ballot.push_back({i, 0.0});
            }
            ballot[found->second].sum += weights.empty() ? 1.0 : weights[i];
        }
        const Votes* best = nullptr;
        for (const Votes& votes : ballot) {
            if (best == nullptr || votes.sum > best->sum) {
                best = &votes;
            }
        }
        result.winners.push_back(best == nullptr ? -1 : static_cast<std::int64_t>(best->first));
        result.votes.push_back(best == nullptr ? 0.0 : best->sum);
    }
    return result;
}

}  // namespace erprm
