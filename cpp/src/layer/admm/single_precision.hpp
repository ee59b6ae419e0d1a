// Alternating directions in single precision, at twice the speed: what they find is reported, and
// certified, as an answer to the program in its own precision.
#pragma once

#include "layer/admm/admm.hpp"
#include "layer/program_copy.hpp"

namespace nettrim::layer {

template <class S>
class SinglePrecisionAdmm {
 public:
  SinglePrecisionAdmm(const UnitProgram<S>& program, const LayerOptions& options)
      : p_(program), single_(program), admm_(single_.program(), options) {}

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
    a.certificate = certify(p_, a.weights, a.dual);
  }

 private:
  const UnitProgram<S>& p_;
  ProgramCopy<float> single_;
  Admm<float> admm_;
  Matrix<S> ray_;
};

}  // namespace nettrim::layer
