// A program copied to another precision, in the units of the one it was made from; of some of its
// features, where the weights of the others are zero.
#pragma once

#include <vector>

#include "layer/program.hpp"

namespace nettrim::layer {

template <class T>
class ProgramCopy {
 public:
  template <class S>
  explicit ProgramCopy(const UnitProgram<S>& p) : ProgramCopy(p, p.n_features()) {
    parallel_over(p.samples, p.threads, [&](Range r, int) {
      X_.middleCols(r.begin, r.size) = (p.x_scale * p.X(r)).template cast<T>();
    });
    program_.scales = p.scales;
    program_.lengths = p.lengths;
    program_.groups = p.groups;
  }
  // Of a program of groups; the features in ascending order.
  template <class S>
  ProgramCopy(const UnitProgram<S>& p, const std::vector<Index>& features)
      : ProgramCopy(p, static_cast<Index>(features.size())) {
    parallel_over(p.samples, p.threads, [&](Range r, int) {
      X_.middleCols(r.begin, r.size) =
          (p.x_scale * p.X(r)(features, Eigen::all)).template cast<T>();
    });
    program_.scales = p.scales(features);
    program_.lengths = p.lengths(features);
    program_.groups = std::make_shared<GroupNorm>(p.groups->among(features));
  }
  ProgramCopy(const ProgramCopy&) = delete;
  ProgramCopy& operator=(const ProgramCopy&) = delete;

  const UnitProgram<T>& program() const { return program_; }

 private:
  template <class S>
  ProgramCopy(const UnitProgram<S>& p, Index features)
      : X_(features, p.n_samples()),
        Y_(scaled(p, p.given.Y, p.n_outputs(), p.y_scale)),
        upper_(scaled(p, p.given.upper, p.n_outputs(), p.y_scale)) {
    program_.given.samples = p.n_samples();
    program_.given.features = features;
    program_.given.outputs = p.n_outputs();
    program_.given.X = X_.data();
    program_.given.Y = Y_.data();
    program_.given.upper = upper_.size() > 0 ? upper_.data() : nullptr;
    program_.given.active = p.given.active;
    program_.given.activation = p.given.activation;
    program_.given.form = p.given.form;
    program_.given.level = program_.level = p.level;
    program_.largest = p.largest;
    program_.total = p.total;
    program_.costs = p.costs;
    program_.cost_unit = p.cost_unit;
    program_.threads = p.threads;
    program_.samples = p.samples;
  }

  template <class S>
  static Matrix<T> scaled(const UnitProgram<S>& p, const S* values, Index rows, S scale) {
    if (values == nullptr) return {};
    Matrix<T> out(rows, p.n_samples());
    parallel_over(p.samples, p.threads, [&](Range r, int) {
      out.middleCols(r.begin, r.size) =
          (scale * View<S>(values + r.begin * rows, rows, r.size)).template cast<T>();
    });
    return out;
  }

  Matrix<T> X_, Y_, upper_;
  UnitProgram<T> program_;
};

}  // namespace nettrim::layer
