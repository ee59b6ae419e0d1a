// Alternating directions with mixing on the groups that may be in use: the others stay at zero, and
// out of all products, until a certificate finds that they want in. Certificates are of the whole
// program. The first part runs in single precision.
#pragma once

#include <memory>
#include <vector>

#include "layer/admm/admm.hpp"
#include "layer/program_copy.hpp"

namespace nettrim::layer {

// Which groups there are, and what the last certificate said about each.
class GroupsInUse {
 public:
  explicit GroupsInUse(const GroupNorm& norm);

  // weights: outputs x features; gradient: of its multipliers.
  void look_at(const Matrix<double>& weights, const Matrix<double>& gradient);
  // Whether others than before are in.
  bool choose();
  // Of the groups that are in, and those that cost nothing, in ascending order.
  std::vector<Index> features() const;

 private:
  bool bring_back(double steepest);
  bool leave_out(double steepest);

  const GroupNorm& norm_;
  std::vector<bool> in_, came_back_;  // one that came back stays
  Eigen::VectorXd sizes_, slopes_;
};

template <class S>
class FewGroups {
 public:
  // The first part runs to that tolerance, unless it is proved to that of the options before.
  FewGroups(const UnitProgram<S>& program, const LayerOptions& options, double rough_tol);

  void start(const Start<S>& start);
  // From here on in double precision.
  void refine();
  void step() {
    with_engine([](auto& engine) { engine.step(); });
  }

  // What search() asks of an engine.
  bool wants_certificate(Index iterations) const {
    return fine_.engine ? fine_.engine->wants_certificate(iterations)
                        : rough_.engine->wants_certificate(iterations);
  }
  Patience patience() const {
    return fine_.engine ? fine_.engine->patience() : rough_.engine->patience();
  }
  const Matrix<S>* ray(const EngineResult<S>& a);
  void report(EngineResult<S>& a);
  void on_certificate(double infeasibility, double gap);

 private:
  template <class T>
  struct Stage {
    std::unique_ptr<ProgramCopy<T>> program;
    std::unique_ptr<Admm<T>> engine;
  };
  template <class Visit>
  void with_engine(Visit&& visit) {
    if (fine_.engine) {
      visit(*fine_.engine);
    } else {
      visit(*rough_.engine);
    }
  }
  Stage<float> rough_stage() const;
  Stage<double> fine_stage() const;
  template <class T>
  void take_answer(const Admm<T>& engine, EngineResult<S>& a) const;
  void see_others();

  const UnitProgram<S>& p_;
  LayerOptions options_;
  double rough_tol_;
  GroupsInUse groups_;
  std::vector<Index> features_;  // what the engines see
  Stage<float> rough_;
  Stage<double> fine_;  // empty before it is time
  Matrix<S> ray_;
};

}  // namespace nettrim::layer
