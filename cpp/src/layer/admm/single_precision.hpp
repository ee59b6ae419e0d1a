// Alternating directions in single precision, at twice the speed: what they find is reported, and
// certified, as an answer to the program in its own precision.
#pragma once

#include "layer/admm/admm.hpp"
#include "layer/group_certificate.hpp"

namespace nettrim::layer {

// A program copied to single precision, in the units of the one it was made from.
class SinglePrecisionProgram {
 public:
  template <class S>
  explicit SinglePrecisionProgram(const UnitProgram<S>& p)
      : X_(p.n_features(), p.n_samples()),
        Y_(scaled(p, p.given.Y, p.n_outputs(), p.y_scale)),
        upper_(scaled(p, p.given.upper, p.n_outputs(), p.y_scale)) {
    parallel_over(p.samples, p.threads, [&](Range r, int) {
      X_.middleCols(r.begin, r.size) = (p.x_scale * p.X(r)).template cast<float>();
    });
    program_.given.samples = p.n_samples();
    program_.given.features = p.n_features();
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
    program_.scales = p.scales;
    program_.costs = p.costs;
    program_.cost_unit = p.cost_unit;
    program_.lengths = p.lengths;
    program_.groups = p.groups;
    program_.threads = p.threads;
    program_.samples = p.samples;
  }
  SinglePrecisionProgram(const SinglePrecisionProgram&) = delete;
  SinglePrecisionProgram& operator=(const SinglePrecisionProgram&) = delete;

  const UnitProgram<float>& program() const { return program_; }

 private:
  template <class S>
  static Matrix<float> scaled(const UnitProgram<S>& p, const S* values, Index rows, S scale) {
    if (values == nullptr) return {};
    Matrix<float> out(rows, p.n_samples());
    parallel_for(static_cast<Index>(p.samples.size()), p.threads, [&](Index k, int) {
      const Range r = p.samples[static_cast<std::size_t>(k)];
      out.middleCols(r.begin, r.size) =
          (scale * View<S>(values + r.begin * rows, rows, r.size)).template cast<float>();
    });
    return out;
  }

  Matrix<float> X_, Y_, upper_;
  UnitProgram<float> program_;
};

template <class S>
class SinglePrecisionAdmm {
 public:
  SinglePrecisionAdmm(const UnitProgram<S>& program, const LayerOptions& options,
                      Mixing mixing = Mixing::none)
      : p_(program), single_(program), admm_(single_.program(), options, mixing) {}

  void start(const Start<S>& start) {
    Matrix<float> weights, dual;
    if (start.weights != nullptr) weights = start.weights->template cast<float>();
    if (start.dual != nullptr) dual = start.dual->template cast<float>();
    admm_.start({start.weights ? &weights : nullptr, start.dual ? &dual : nullptr});
  }
  void step() { admm_.step(); }
  const Admm<float>& engine() const { return admm_; }

  // What search() asks of an engine.
  bool wants_certificate(Index iterations) const { return admm_.wants_certificate(iterations); }
  Patience patience() const { return admm_.patience(); }
  const Matrix<S>* ray(const EngineResult<S>& a) {
    const Matrix<float>* const ray = admm_.ray(a.dual.rows(), a.dual.cols());
    if (ray != nullptr) ray_ = ray->template cast<S>();
    return ray != nullptr ? &ray_ : nullptr;
  }
  void on_certificate(double infeasibility, double gap) {
    admm_.on_certificate(infeasibility, gap);
  }
  void report(EngineResult<S>& a) const {
    Matrix<float> dual(a.dual.rows(), a.dual.cols());
    admm_.dual(dual);
    a.weights = admm_.weights().template cast<S>();
    // An entry that is positive in one precision may be zero in the other.
    a.dual = dual.template cast<S>();
    cut_to_valid_signs(p_, a.dual);
    if (p_.groups) meet_free_features(p_, a.dual);
    a.certificate = certify(p_, a.weights, a.dual);
  }

 private:
  const UnitProgram<S>& p_;
  SinglePrecisionProgram single_;
  Admm<float> admm_;
  Matrix<S> ray_;
};

}  // namespace nettrim::layer
