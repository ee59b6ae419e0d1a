#include <algorithm>
#include <utility>

#include "budget/stop.hpp"
#include "linalg/cholesky.hpp"
#include "linalg/inverse.hpp"
#include "linalg/product_by.hpp"
#include "units/features.hpp"

namespace nettrim::units {
namespace {

// One form with the features of some units in use. With H and C of the program, K the features in
// use and A the others,
//   T = [-P, P H_KA; ., H_AA - H_AK P H_KA],  Z = [P C_K; C_A - H_AK P C_K],  P = (H_KK)^-1:
// the weights in use and what they leave to be explained. A unit comes or goes by one sweep of T
// (Goodnight, 1979). Of Z inner products do: M = Z Z'.
class FormExchange {
 public:
  FormExchange(const UnitsForm& form, Index units, const std::vector<bool>& kept, int threads)
      : threads_(threads), features_(form, units) {
    const Matrix<double> H = gram_of(form, features_.order());
    const Matrix<double> C = correlations_of(form, features_.order());
    std::vector<Index> used, others;
    for (Index u = 0; u < units; ++u) {
      append(features_.of(u), kept[static_cast<std::size_t>(u)] ? used : others);
    }
    append(features_.of_none(), used);
    const Matrix<double> P = inverse_of_definite(H(used, used), threads);
    const Matrix<double> cross = H(used, others);
    const Matrix<double> PH = times(P, cross), U = times(P, C(used, Eigen::all));
    Matrix<double> left = H(others, others);
    add_product_by(threads, cross.transpose(), PH, left, -1.0);
    Matrix<double> R = C(others, Eigen::all);
    add_product_by(threads, cross.transpose(), U, R, -1.0);
    T_.resize(form.features, form.features);
    T_(used, used) = -P;
    T_(used, others) = PH;
    T_(others, used) = PH.transpose();
    T_(others, others) = left;
    Matrix<double> Z(form.features, form.outputs);
    Z(used, Eigen::all) = U;
    Z(others, Eigen::all) = R;
    const Matrix<double> transposed = Z.transpose();
    M_ = times(Z, transposed);
  }

  // What the loss grows by without a unit in use.
  double cost(Index unit) const {
    const Range g = features_.of(unit);
    if (g.size == 0) return 0;
    Matrix<double> P = -block(T_, g, g), M = block(M_, g, g);
    return half_of_trace(P, M);
  }

  // Adds what the loss shrinks by with each of some units in the place of one in use, which costs
  // something.
  void add_gains(Index goes, const std::vector<Index>& others, Eigen::VectorXd& gains) const {
    const Range g = features_.of(goes);
    if (features_.most() == 1) {
      add_gains_of_features(g, others, gains);
      return;
    }
    const Matrix<double> P = inverse_of_definite(-block(T_, g, g), 1);
    for (Index k = 0; k < gains.size(); ++k) {
      const Range h = features_.of(others[static_cast<std::size_t>(k)]);
      if (h.size == 0) continue;
      // Without g: what h is asked to explain, and how much of h is new.
      Matrix<double> asked = block(M_, h, h), left = block(T_, h, h);
      if (g.size > 0) {
        const Matrix<double> way = product(Matrix<double>(block(T_, h, g)), P);
        Matrix<double> half = block(M_, h, g);
        add_product(way, Matrix<double>(block(M_, g, g)), half, 0.5);
        add_product(way, half.transpose(), asked);
        add_product(half, way.transpose(), asked);
        add_product(way, block(T_, g, h), left);
      }
      gains[k] += half_of_trace(left, asked);
    }
  }

  // A unit goes, if it is in use, or comes.
  void sweep(Index unit, bool is_used) {
    const Range g = features_.of(unit);
    if (g.size == 0) return;
    const double sign = is_used ? -1 : 1;
    const Matrix<double> D = inverse_of_definite(sign * block(T_, g, g), threads_) * sign;
    const Matrix<double> rows = T_.middleRows(g.begin, g.size);
    const Matrix<double> E = product(Matrix<double>(rows.transpose()), D);
    Matrix<double> squares = M_.middleCols(g.begin, g.size);
    const Matrix<double> own = block(M_, g, g);
    add_product(E, own, squares, -0.5);
    const Matrix<double> E_rows = E.transpose(), square_rows = squares.transpose();
    add_product_by(threads_, E, rows, T_, -1.0);
    add_product_by(threads_, E, square_rows, M_, -1.0);
    add_product_by(threads_, squares, E_rows, M_, -1.0);
    add_product(E, own, squares, -0.5);  // now those of Z without g, times its rows of g before
    const Matrix<double> beside = sign * product(squares, D);
    write_cross(T_, g, sign * E);
    write_cross(M_, g, beside);
    T_.block(g.begin, g.begin, g.size, g.size) = -D;
    M_.block(g.begin, g.begin, g.size, g.size) = product(product(D, own), D);
  }

 private:
  static void append(Range r, std::vector<Index>& list) {
    for (Index i = r.begin; i < r.begin + r.size; ++i) list.push_back(i);
  }

  static Eigen::Block<const Matrix<double>> block(const Matrix<double>& m, Range a, Range b) {
    return m.block(a.begin, b.begin, a.size, b.size);
  }

  static void write_cross(Matrix<double>& m, Range g, const Matrix<double>& columns) {
    m.middleCols(g.begin, g.size) = columns;
    m.middleRows(g.begin, g.size) = columns.transpose();
  }

  Matrix<double> times(const Matrix<double>& A, const Matrix<double>& B) const {
    Matrix<double> result = Matrix<double>::Zero(A.rows(), B.cols());
    add_product_by(threads_, A, B, result, 1.0);
    return result;
  }

  void add_gains_of_features(Range g, const std::vector<Index>& others,
                             Eigen::VectorXd& gains) const {
    const double P = g.size > 0 ? -T_(g.begin, g.begin) : 1;
    const double own = g.size > 0 ? M_(g.begin, g.begin) : 0;
    for (Index k = 0; k < gains.size(); ++k) {
      const Range h = features_.of(others[static_cast<std::size_t>(k)]);
      if (h.size == 0) continue;
      const Index i = h.begin;
      const double cross = g.size > 0 ? T_(i, g.begin) : 0;
      const double beside = g.size > 0 ? M_(i, g.begin) : 0;
      const double way = cross / P;
      const double asked = M_(i, i) + way * (2 * beside + way * own);
      gains[k] += asked / (2 * (T_(i, i) + way * cross));
    }
  }

  int threads_;
  UnitFeatures features_;
  Matrix<double> T_, M_;  // whole, though symmetric
};

struct Pair {
  Index goes = 0, comes = 0;
  double gain = -kInfinity;
};

// All forms, and which units may change places.
class Exchange {
 public:
  Exchange(const UnitsProgram& program, std::vector<bool> kept, int threads)
      : threads_(threads), kept_(std::move(kept)) {
    for (const UnitsForm& form : program.forms) {
      forms_.emplace_back(form, program.units, kept_, threads);
    }
    for (Index u = 0; u < program.units; ++u) {
      if (!kept_[static_cast<std::size_t>(u)]) {
        others_.push_back(u);
      } else if (!program.keep || !program.keep[u]) {
        used_.push_back(u);
      }
    }
  }

  Pair best() const {
    std::vector<Pair> pairs(used_.size());
    parallel_for(static_cast<Index>(used_.size()), threads_, [&](Index k, int) {
      pairs[static_cast<std::size_t>(k)] = best_in_place_of(used_[static_cast<std::size_t>(k)]);
    });
    const auto less = [](const Pair& a, const Pair& b) { return a.gain < b.gain; };
    const auto found = std::max_element(pairs.begin(), pairs.end(), less);
    return found == pairs.end() ? Pair() : *found;
  }

  void swap(const Pair& pair) {
    for (FormExchange& form : forms_) {
      form.sweep(pair.goes, true);
      form.sweep(pair.comes, false);
    }
    std::replace(used_.begin(), used_.end(), pair.goes, pair.comes);
    std::replace(others_.begin(), others_.end(), pair.comes, pair.goes);
    kept_[static_cast<std::size_t>(pair.goes)] = false;
    kept_[static_cast<std::size_t>(pair.comes)] = true;
  }

  const std::vector<bool>& kept() const { return kept_; }

 private:
  Pair best_in_place_of(Index unit) const {
    if (others_.empty()) return {};
    Eigen::VectorXd gains = Eigen::VectorXd::Zero(static_cast<Index>(others_.size()));
    double cost = 0;
    for (const FormExchange& form : forms_) {
      form.add_gains(unit, others_, gains);
      cost += form.cost(unit);
    }
    Index k = 0;
    const double gain = gains.maxCoeff(&k);
    return {unit, others_[static_cast<std::size_t>(k)], gain - cost};
  }

  int threads_;
  std::vector<bool> kept_;
  std::vector<FormExchange> forms_;
  std::vector<Index> used_, others_;
};

}  // namespace
}  // namespace nettrim::units

namespace nettrim {

UnitsExchange exchange_units(const UnitsProgram& program, const bool* kept, Index most,
                             double worthwhile, const BudgetOptions& options) {
  using namespace units;
  budget::StopFlag stop(options);
  UnitsExchange result;
  result.kept.assign(kept, kept + program.units);
  if (most == 0 || stop.is_late()) return result;
  Exchange exchange(program, result.kept, options.n_threads);
  while (result.swaps < most && !stop.poll(0) && !stop.is_late()) {
    const Pair pair = exchange.best();
    if (!(pair.gain > worthwhile)) break;
    exchange.swap(pair);
    ++result.swaps;
    result.gain += pair.gain;
  }
  result.kept = exchange.kept();
  result.complete = !stop.is_set();
  return result;
}

}  // namespace nettrim
