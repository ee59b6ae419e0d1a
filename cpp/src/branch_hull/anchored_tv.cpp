// Alternating directions: copies u of w, v of x with slack and g of w's differences satisfy one
// constraint each; w and x are the nearest that agree with them. Slack is no variable: where a
// multiplier would pass its penalty, v moves freely and what is missing is slack.
#include "nettrim/anchored_tv.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "branch_hull/balance.hpp"
#include "branch_hull/differences.hpp"
#include "branch_hull/monitor.hpp"
#include "branch_hull/soft_hull.hpp"
#include "linalg/parallel.hpp"

namespace nettrim {
namespace branch_hull {
namespace {

constexpr double kFirstRho = 3;
constexpr Index kTvCertificateEvery = 25, kMostSteps = 20'000;
constexpr double kLeastShare = 0.01;  // of the copy, where a w is not positive
constexpr int kBoundSteps = 60;
constexpr Index kPixelsPerPiece = 1024;

void check(const AnchoredTvProgram& p, const BranchHullOptions& o) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
  };
  require(p.height > 0 && p.width > 0 && p.modes > 0, "sizes are positive");
  require(p.image && p.basis, "image and basis are given");
  require(p.mu > 0 && p.slack >= p.mu && std::isfinite(p.slack), "slack >= mu > 0");
  const View<double> image(p.image, p.width, p.height);
  require(image.allFinite() && image.minCoeff() >= 0 && image.maxCoeff() > 0,
          "the image is nonnegative and not all zero");
  require(o.tol > 0 && o.max_iter >= 0 && o.n_threads > 0,
          "tol and n_threads are positive, max_iter is not negative");
}

class AnchoredTv {
 public:
  AnchoredTv(const AnchoredTvProgram& p, int threads)
      : mu_(p.mu),
        slack_(p.slack),
        threads_(threads),
        basis_(p.basis, p.modes, p.width * p.height),
        pieces_(cut(basis_.cols(), kPixelsPerPiece, threads)),
        smooth_(p.width, p.height),
        unit_(View<double>(p.image, p.width, p.height).mean()),
        y_(View<double>(p.image, p.width, p.height) / unit_),
        w_(Image::Ones(p.width, p.height)),
        x_(onto_range(y_)),
        steady_(mu_ * onto_range(w_)),
        w_dual_(Image::Zero(p.width, p.height)),
        x_dual_(w_dual_),
        g_dual_(Differences::of(w_dual_)) {}

  void step() {
    const Image w_aim = w_ - w_dual_, x_aim = x_ - x_dual_;
    Image u = w_aim, v = x_aim;
    into_hulls(u, v);
    const Differences G = Differences::of(w_);
    const Differences g_aim = G.with(g_dual_, [](double a, double b) { return a - b; });
    const Differences g = shrunk(g_aim);
    q_ = rho_ * (v - x_aim);
    pull_ = g_aim.with(g, [this](double aim, double near) { return rho_ * (aim - near); });

    const auto relax = [](double near, double here) {
      return kRelaxation * near + (1 - kRelaxation) * here;
    };
    w_dual_ += u.binaryExpr(w_, relax);
    x_dual_ += v.binaryExpr(x_, relax);
    g_dual_ = g_dual_.with(g.with(G, relax), [](double a, double b) { return a + b; });
    const Image old_w = std::move(w_), old_x = std::move(x_);
    w_ = smooth_(w_dual_ + g_dual_.adjoint());
    w_.array() -= w_.mean() - 1;
    x_ = onto_range(x_dual_) - steady_ / rho_;
    const Differences new_G = Differences::of(w_);
    w_dual_ -= w_;
    x_dual_ -= x_;
    g_dual_ = g_dual_.with(new_G, [](double a, double b) { return a - b; });
    copy_ = u;
    misfit_ = (u - w_).squaredNorm() + (v - x_).squaredNorm() +
              g.with(new_G, [](double a, double b) { return a - b; }).squared_norm();
    travel_ = (w_ - old_w).squaredNorm() + (x_ - old_x).squaredNorm();
  }

  void rebalance() {
    const double apart = misfit_ / (w_.squaredNorm() + x_.squaredNorm());
    const double moving = travel_ / (w_dual_.squaredNorm() + x_dual_.squaredNorm());
    const double factor = balancing_factor(apart, moving);
    rho_ *= factor;
    w_dual_ /= factor;
    x_dual_ /= factor;
    g_dual_.across /= factor;
    g_dual_.down /= factor;
  }

  // A feasible point: the present one, positive, with slack for what it misses.
  double make_feasible(AnchoredTvSolution& s) const {
    Image w = w_.cwiseMax(kLeastShare * copy_);
    w /= w.mean();
    const Image missing = y_.binaryExpr(w, [](double y, double w) { return y > 0 ? y / w : 0; });
    const Image xi = (missing - x_).cwiseMax(0.0);
    const double objective = Differences::of(w).sum_of_sizes() + mu_ * x_.sum() + slack_ * xi.sum();
    if (std::isnan(objective)) return kInfinity;
    s.w = w.reshaped();
    s.x = unit_ * x_.reshaped();
    s.xi = unit_ * xi.reshaped();
    return objective;
  }

  // Multipliers q with q = mu on the range and 0 <= q <= slack, and p = G'pull + c >= 0, prove
  // 2 sum sqrt(y p q) - c n_pixels (docs/mathematics/branch_hull.md#images); the c that proves
  // most is taken.
  double dual_bound() const {
    const Image q = allowed(q_ - onto_range(q_) + steady_);
    const Image slope = pull_.adjoint();
    const Image weight = (y_.array() * q.array()).sqrt();
    const double least = -slope.minCoeff();
    // In terms of sqrt(c - least), where the bound has no infinite derivative, by bisection.
    const auto derivative = [&](double c) {
      return (weight.array() / (slope.array() + c).cwiseMax(1e-300).sqrt()).sum() -
             static_cast<double>(y_.size());
    };
    double low = 0, high = 1;
    while (derivative(least + high) > 0 && high < 1e100) high *= 2;
    for (int k = 0; k < kBoundSteps; ++k) {
      const double middle = (low + high) / 2;
      (derivative(least + middle) > 0 ? low : high) = middle;
    }
    const double c = least + high;
    return 2 * (weight.array() * (slope.array() + c).cwiseMax(0.0).sqrt()).sum() -
           c * static_cast<double>(y_.size());
  }

 private:
  void into_hulls(Image& u, Image& v) const {
    const double free = slack_ / rho_;  // how far v moves at most
    parallel_over(pieces_, threads_, [&](Range r, int) {
      const auto [first, size] = r;
      project_onto_soft_hulls(
          size, y_.data() + first, [free](Index) { return free; }, u.data() + first,
          v.data() + first);
    });
  }

  Differences shrunk(const Differences& g) const {
    const auto soft = [most = 1 / rho_](double x) { return x - std::clamp(x, -most, most); };
    return {g.across.unaryExpr(soft), g.down.unaryExpr(soft)};
  }

  Image onto_range(const Image& image) const {
    const Eigen::VectorXd zero = Eigen::VectorXd::Zero(basis_.rows());
    const auto coordinates =
        parallel_total(pieces_, threads_, zero, [&](Range r, Eigen::VectorXd& sum) {
          add_product(basis_.middleCols(r.begin, r.size), image.reshaped().segment(r.begin, r.size),
                      sum);
        });
    Image out(image.rows(), image.cols());
    parallel_over(pieces_, threads_, [&](Range r, int) {
      write_product(basis_.middleCols(r.begin, r.size).transpose(), coordinates,
                    out.reshaped().segment(r.begin, r.size));
    });
    return out;
  }

  // Blended with the constant mu, as much as it takes to come within the bounds.
  Image allowed(Image q) const {
    double share = 0;
    for (Index i = 0; i < q.size(); ++i) {
      const double value = q.data()[i];
      if (value < 0) share = std::max(share, value / (value - mu_));
      if (value > slack_) share = std::max(share, (value - slack_) / (value - mu_));
    }
    q = (1 - share) * q + Image::Constant(q.rows(), q.cols(), share * mu_);
    return q.cwiseMax(0.0).cwiseMin(slack_);
  }

  double mu_, slack_;
  int threads_;
  View<double> basis_;  // modes x pixels
  std::vector<Range> pieces_;
  Smoother smooth_;
  double unit_, rho_ = kFirstRho;
  Image y_, w_, x_, steady_;
  Image w_dual_, x_dual_;  // over rho
  Differences g_dual_;
  Image q_, copy_;
  Differences pull_;
  double misfit_ = 0, travel_ = 0;  // squares
};

}  // namespace
}  // namespace branch_hull

AnchoredTvSolution solve_anchored_tv(const AnchoredTvProgram& program,
                                     const BranchHullOptions& options) {
  using namespace branch_hull;
  check(program, options);
  const Monitor monitor(options);
  AnchoredTv tv(program, options.n_threads);
  AnchoredTvSolution best, now;
  best.objective = kInfinity;
  best.dual_bound = -kInfinity;
  const auto certify = [&] {
    const double objective = tv.make_feasible(now), bound = tv.dual_bound();
    if (objective < best.objective) {
      best.objective = objective;
      best.w.swap(now.w);
      best.x.swap(now.x);
      best.xi.swap(now.xi);
    }
    best.dual_bound = std::max(best.dual_bound, bound);
    best.gap = (best.objective - best.dual_bound) / best.objective;
    return monitor.verdict(best.iterations, best.objective, best.dual_bound, best.gap);
  };
  const Index most = options.max_iter > 0 ? options.max_iter : kMostSteps;
  BackoffCounter rebalancing(kTvCertificateEvery);
  std::optional<Status> status;
  while (!status) {
    tv.step();
    const bool last = ++best.iterations == most, stopped = monitor.interrupted();
    const bool ends = last || stopped || monitor.is_late();
    if (best.iterations % kTvCertificateEvery == 0 || ends) status = certify();
    if (!status && stopped) status = Status::interrupted;
    if (!status && last) status = Status::max_iter;
    if (rebalancing.due()) tv.rebalance();
  }
  best.status = *status;
  best.seconds = monitor.seconds();
  return best;
}

}  // namespace nettrim
