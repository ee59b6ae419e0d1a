// Time of one layer solve, in seconds and in products X W of the same shapes and threads.
//
//   bench_layer [--samples 2000 --features 301 --outputs 100 | --X x.npy --Y y.npy]
//               [--epsilon 0.1] [--activation relu|linear] [--solver auto|newton|admm]
//               [--tol 1e-6] [--threads 2] [--repeats 5] [--rounds 1]
//
// Without files the layer is random: its inputs are the outputs of a random ReLU layer, as a hidden
// layer sees them. epsilon is relative to the norm of Y. --rounds 1 prints every certificate.
#include "harness.hpp"
#include "nettrim/layer.hpp"

namespace {

using namespace nettrim;

struct Layer {
  Matrix<double> X, Y;  // features x samples, outputs x samples
};

Layer random_layer(Index samples, Index features, Index outputs) {
  std::mt19937_64 source(0);
  Layer layer;
  layer.X = bench::hidden_signals(features, samples, source);
  layer.Y = (bench::gaussian(outputs, features, source) * layer.X).cwiseMax(0.0);
  return layer;
}

Layer layer_of(bench::Options& options) {
  const auto X = options.get<std::string>("X", ""), Y = options.get<std::string>("Y", "");
  const auto samples = options.get<Index>("samples", 2000);
  const auto features = options.get<Index>("features", 301);
  const auto outputs = options.get<Index>("outputs", 100);
  if (X.empty() && Y.empty()) return random_layer(samples, features, outputs);
  Layer layer{bench::read_npy(X), bench::read_npy(Y)};
  if (layer.X.cols() != layer.Y.cols()) throw std::invalid_argument("X and Y differ in samples");
  return layer;
}

bool tell(const LayerProgress& progress) {
  bench::Json()
      .add("iteration", double(progress.iteration))
      .add("seconds", progress.seconds)
      .add("objective", progress.objective)
      .add("gap", progress.gap)
      .add("residual", progress.residual)
      .add("violation", progress.violation)
      .print();
  return false;
}

void run(bench::Options& given) {
  const Layer layer = layer_of(given);
  LayerProgram<double> program;
  program.samples = layer.X.cols();
  program.features = layer.X.rows();
  program.outputs = layer.Y.rows();
  program.X = layer.X.data();
  program.Y = layer.Y.data();
  program.activation = given.get<std::string>("activation", "relu") == "linear" ? Activation::linear
                                                                                : Activation::relu;
  program.level = given.get("epsilon", 0.1) * layer.Y.norm();
  LayerOptions options;
  options.solver = solver_named(given.get<std::string>("solver", "auto"));
  options.tol = given.get("tol", options.tol);
  options.n_threads = given.get("threads", 2);
  if (given.get("rounds", 0) != 0) options.callback = tell;
  const int repeats = given.get("repeats", 5);
  given.require_all_used();

  LayerSolution<double> solution;
  std::vector<double> times;
  const Matrix<double> W = Matrix<double>::Ones(program.outputs, program.features);
  const double product = bench::product_seconds(W, layer.X, options.n_threads, 21);
  for (int k = 0; k < repeats; ++k) {
    times.push_back(bench::seconds([&] { solution = solve_layer(program, options); }));
  }
  const double solve = bench::median(times);
  bench::Json()
      .add("samples", double(program.samples))
      .add("features", double(program.features))
      .add("outputs", double(program.outputs))
      .add("threads", options.n_threads)
      .add("status", name(solution.status))
      .add("solver", solution.solver)
      .add("iterations", double(solution.iterations))
      .add("gap", solution.gap)
      .add("nonzeros", double((solution.weights.array() != 0).count()))
      .add("product_s", product)
      .add("solve_s", solve)
      .add("products", solve / product)
      .print();
}

}  // namespace

int main(int argc, char** argv) { return bench::main_with(argc, argv, run); }
