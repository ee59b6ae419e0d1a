// Gram matrices X_f' D X_f + R of a few features f. Of each output D is diagonal: 1 for active
// samples, and for the others what they are drawn by. R is the diagonal of ridges.
#pragma once

#include <cstdint>
#include <vector>

#include "layer/program.hpp"
#include "linalg/outer.hpp"
#include "linalg/packed.hpp"

namespace nettrim::layer {

constexpr Index kLargestStride = 64;
constexpr Index kWord = 64;  // samples that have their bits in one

// Columns from `known` on of the Gram matrix of `features`.
struct GramColumns {
  Index output;
  const std::vector<Index>* features;
  Index known;
  // Above 1, a power of two up to kLargestStride: an estimate from the active ones of one in
  // `stride` samples, as if they stood for all. No diagonal entry is below the exact one: features
  // that the few miss do not look free. With such an estimate of all features at hand, what it
  // leaves out is added.
  Index stride = 1;
  const PackedSymmetric* estimate = nullptr;
  Matrix<double> entries = {};  // features x (features - known)
  // Places of the known features in ascending order of features, and of the fresh ones: entries are
  // in this order while they are summed.
  std::vector<Index> order = {};
};

template <class S>
class WorkingGram {
 public:
  // kept: the precision in which they are going to be kept.
  WorkingGram(const UnitProgram<S>& program, Precision kept);

  Index active_samples(Index output) const { return counts_[static_cast<std::size_t>(output)]; }

  void prepare_estimates();
  // The entries of some outputs at once, which share what is read of X.
  void fill(std::vector<GramColumns>& asked) const;
  Matrix<double> columns(Index output, const std::vector<Index>& features, Index known) const;

 private:
  bool active(Index output, Index sample) const {
    return (bits_(output, sample / kWord) >> (sample % kWord)) & 1;
  }
  // Whether it is less work to take the inactive samples off the whole.
  bool is_difference(const GramColumns& asked) const {
    return whole_.size() > 0 && asked.stride == 1 &&
           2 * active_samples(asked.output) > p_.n_samples();
  }
  bool has_few_fresh(const GramColumns& asked) const;
  void begin(GramColumns& asked) const;
  void finish(GramColumns& asked) const;
  template <class G>
  void add_samples(const std::vector<GramColumns*>& asked) const;
  template <class G>
  void add_products(const std::vector<GramColumns*>& asked) const;
  double weight_of_samples(const GramColumns& asked) const;
  Index counted_samples(const GramColumns& asked) const;
  std::uint64_t counted(const GramColumns& asked, Index word) const;
  void find_places(const GramColumns& asked, Range block, Index stride,
                   std::vector<Index>& places) const;
  Index common_stride(const std::vector<GramColumns*>& asked) const;
  bool shares_samples(const std::vector<GramColumns*>& asked, Index stride) const;
  template <class G>
  void write_X(const std::vector<Index>& samples, Matrix<G>& out) const;
  template <class G>
  void gather(Index sample, const std::vector<Index>& features, Index known,
              OuterProducts<G>& products) const;

  const UnitProgram<S>& p_;
  Precision kept_;
  Matrix<std::uint64_t> bits_;  // of the active entries, outputs x words
  std::vector<Index> counts_;
  Matrix<double> squares_;  // sums over active samples, outputs x features; for estimates
  double pull_ = 0;
  // X'X over all samples, where outputs are mostly active or there is a pull
  Matrix<double> whole_;
};

}  // namespace nettrim::layer
