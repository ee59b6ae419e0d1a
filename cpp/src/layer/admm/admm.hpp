// Alternating directions on the exact splitting W1 = XU, W2 = U (Net-Trim, NIPS 2017 supplement).
//
// Written as Douglas-Rachford on the state s = (W1 + U1, W2 + U2), which is the same iteration with
// two arrays fewer; U1, U2 are the scaled multipliers. The factorisation does not depend on rho.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "layer/admm/anderson.hpp"
#include "layer/admm/projection.hpp"
#include "layer/admm/splitting.hpp"
#include "layer/search.hpp"

namespace nettrim::layer {

enum class Mixing { none, anderson };

template <class S>
class Admm {
 public:
  Admm(const UnitProgram<S>& program, const LayerOptions& options, Mixing mixing = Mixing::none,
       std::unique_ptr<Projection<S>> projection = nullptr);

  void start(const Start<S>& start);
  // From where another one stands, on the same program in another precision.
  template <class T>
  void go_on(const Admm<T>& other);
  // Or on one of other features: the place of each of them there, negative where it is a new one,
  // whose weights are zero.
  template <class T>
  void go_on(const Admm<T>& other, const std::vector<Index>& places);
  void step();

  // What search() asks of an engine.
  bool wants_certificate(Index iterations) const {
    return anderson_ ? until_certificate_ <= 0 : iterations % check_every_ == 0;
  }
  Patience patience() const;
  void report(EngineResult<S>& a) const;
  const Matrix<S>* ray(const EngineResult<S>& a) { return ray(a.dual.rows(), a.dual.cols()); }
  const Matrix<S>* ray(Index outputs, Index samples);
  void on_certificate(double infeasibility, double gap);

  const Matrix<S>& weights() const { return sparse_; }
  // Multipliers of the fit, G = rho (W1 - Z): no positive inactive entry, zero where slack.
  void dual(Matrix<S>& out) const;

  const Pair<S>& consistent() const { return nearest_; }  // (X W3, W3)
  const Pair<S>& state() const { return state_; }  // s, of which consistent() is the projection
  const Eigen::VectorXd& proximal_weights() const { return proximal_weights_; }
  double rho() const { return rho_; }
  Projection<S>& projection() const { return *projection_; }

 private:
  template <class T>
  friend class Admm;
  static constexpr Index kFirstWait = 30;  // for a look at rho
  class Work;
  void advance(Index piece);
  void mix();
  void measure(Index piece);
  void rebalance();
  void change_rho(double factor);
  void finish_measure();
  void threshold();
  void direction(Matrix<S>& out) const;
  void begin_rho();
  void fill_with_targets(Matrix<S>& out) const;
  void add_multipliers(const Matrix<S>& dual);
  void adjust_to_metric(const Eigen::VectorXd& others, const std::vector<Index>& places);
  void add_multipliers_of(const std::vector<Index>& features);
  template <class Formula>
  void over_entries(Matrix<S>& out, Formula&& formula) const;

  const UnitProgram<S>& p_;
  double tol_;
  Index check_every_, until_certificate_, waited_, looks_for_ray_ = 0;
  double last_error_ = std::numeric_limits<double>::infinity();  // at the last certificate
  Eigen::VectorXd proximal_weights_;  // of the copy W2 = U in the metric, one for each feature
  double rho_ = 1;
  double keep_ = 1, distance_ = 0;  // of Z's distance from Y over the active entries, what stays
  bool moved_ = false;              // whether there is a step for advance() to finish
  Balance balance_{kFirstWait};
  Pair<S> state_, nearest_;
  Pair<S> old_state_, old_nearest_;  // at the last rebalance
  Matrix<S> sparse_, reflected_, ray_;
  std::vector<double> partial_;  // squared distances, one per piece
  std::unique_ptr<Projection<S>> projection_;
  std::optional<Anderson<S>> anderson_;
  Pair<S> before_;  // the last plain step, where there is mixing
};

}  // namespace nettrim::layer
