// Alternating directions for a linear layer, on its Gram matrix: the iteration of admm.hpp, of
// which a step takes one product of features^2 outputs, however many samples there are.
//
// Signals never leave the span of XU and Y: W1 + U1 = X sigma + alpha Y, with one alpha for all.
// With H = X'X, and what it makes of sigma kept beside it, the consistent pair's
// U = (H + proximal)^-1 (H sigma + alpha X'Y + proximal s2) tells HU without another product.
#pragma once

#include <vector>

#include "layer/admm/splitting.hpp"
#include "layer/search.hpp"

namespace nettrim::layer {

// What a linear program at unit size says of its samples.
struct LinearForm {
  explicit LinearForm(const UnitProgram<double>& p);

  Eigen::VectorXd proximal_weights;
  Matrix<double> gram, inverse;  // H, and that of H + proximal
  Matrix<double> moments;        // Y'X, outputs x features
  double square;                 // ||Y||^2
};

// In single precision it takes half the time and comes near; in double it comes to the end.
template <class S>
class GramAdmm {
 public:
  // From the ridge solution.
  GramAdmm(const UnitProgram<double>& program, const LinearForm& form, const LayerOptions& options);
  // From where another one stands, which ends there.
  template <class T>
  GramAdmm(GramAdmm<T>&& other, const LayerOptions& options);

  void step();

  // What search() asks of an engine.
  bool wants_certificate(Index) const { return until_certificate_ <= 0; }
  Patience patience() const { return Patience(kPatience); }
  void report(EngineResult<double>& a) const;
  const Matrix<double>* ray(const EngineResult<double>& a);
  void on_certificate(double infeasibility, double gap);

 private:
  template <class T>
  friend class GramAdmm;
  using Array = Eigen::Array<S, Eigen::Dynamic, Eigen::Dynamic>;
  using Vector = Eigen::Vector<S, Eigen::Dynamic>;
  static constexpr Index kPatience = 20;   // certificates without progress
  static constexpr Index kFirstWait = 16;  // for a look at rho

  // Signals X sigma + alpha Y with image = H sigma, and weights beside them.
  struct Pair {
    Matrix<S> sigma, image, weights;
    double alpha = 0;
  };

  GramAdmm(const UnitProgram<double>& p, const LinearForm& form, const LayerOptions& options,
           Pair&& state);
  template <class Body>
  void over_features(Body&& body) const;
  void relax();
  void project();
  void find_distance();
  void threshold();
  void remember();
  void rebalance();
  void change_rho(double factor);
  template <class Signals>
  double square_of(double alpha, Signals&& signals) const;
  // X weights + share Y
  void write_signals(const Matrix<double>& weights, double share_of_Y, Matrix<double>& out) const;

  const UnitProgram<double>& p_;
  const LinearForm& form_;
  LayerOptions options_;
  std::vector<Range> features_;
  Matrix<S> inverse_, moments_;
  Vector proximal_;
  Pair state_;                 // (W1 + U1, W2 + U2)
  Matrix<S> weights_, image_;  // U of the consistent pair, and HU
  Pair old_multipliers_;       // at the last look at rho: state less the consistent pair
  Matrix<S> old_weights_, old_image_;
  Matrix<S> right_, sparse_;
  Matrix<double> ray_;
  double rho_ = 1, keep_ = 1;  // of Z's distance from Y, what stays
  bool moved_ = false;         // whether there is a step for relax() to finish
  Balance balance_{kFirstWait};
  Index steps_ = 0, until_certificate_, looks_for_ray_ = 0;
  double error_ = 0;  // at the last certificate
};

}  // namespace nettrim::layer
