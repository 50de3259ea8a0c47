// The stages of a caption, on models/default where it is there, else on the tiny random model of the tests.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "default_engine.h"
#include "io/image.h"
#include "io/resize.h"
#include "model/observer.h"

namespace {

using namespace bitmar;

std::vector<std::uint8_t> photo_file() {
  return read_file(root() / "web" / "demo" / "public" / "samples" / "cat.jpg", 1 << 24);
}

struct Pixels {
  Pixels() {
    side = engine().config().vision.image_size;
    rgb.resize(std::size_t{3} * side * side);
    const Image image = decode_image(photo_file());
    resize_bilinear(image.view(), side, side, rgb);
  }
  ImageView view() const { return {rgb.data(), side, side, 3}; }
  int side;
  std::vector<std::uint8_t> rgb;
};

const Pixels& pixels() {
  static const Pixels photo;
  return photo;
}

std::vector<int> prompt() {
  std::vector<int> tokens = engine().tokenizer().encode("a dog");
  tokens.insert(tokens.begin(), engine().config().bos_token_id);
  return tokens;
}

// A JPEG file to the model's pixels.
void image_decode(benchmark::State& state) {
  const std::vector<std::uint8_t> file = photo_file();
  std::vector<std::uint8_t> rgb(pixels().rgb.size());
  for (auto _ : state) {
    const Image image = decode_image(file);
    resize_bilinear(image.view(), pixels().side, pixels().side, rgb);
    benchmark::DoNotOptimize(rgb.data());
  }
}
BENCHMARK(image_decode)->Unit(benchmark::kMillisecond);

// A camera's frame to the model's pixels.
void resize_vga(benchmark::State& state) {
  const std::vector<std::uint8_t> frame(std::size_t{640} * 480 * 4, 77);
  std::vector<std::uint8_t> rgb(pixels().rgb.size());
  for (auto _ : state) {
    resize_bilinear({frame.data(), 640, 480, 4}, pixels().side, pixels().side, rgb);
    benchmark::DoNotOptimize(rgb.data());
  }
}
BENCHMARK(resize_vga)->Unit(benchmark::kMillisecond);

// Pixels to vision tokens.
void image_encode(benchmark::State& state) {
  for (auto _ : state) {
    engine().model().forget_inputs();  // or the same picture would cost nothing
    engine().model().encode(pixels().rgb.data());
  }
}
BENCHMARK(image_encode)->Unit(benchmark::kMillisecond);

// The same by so many threads. Real time is what counts: processor time is the caller's alone.
void image_encode_threads(benchmark::State& state) {
  const auto several = load_engine({.threads = static_cast<int>(state.range(0))});
  for (auto _ : state) {
    several->model().forget_inputs();
    several->model().encode(pixels().rgb.data());
  }
}
BENCHMARK(image_encode_threads)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

// Prompt, fusion, and the decoder's keys and values of the conditioning.
void prefill(benchmark::State& state) {
  BitMar& model = engine().model();
  const Picture picture = model.encode(pixels().rgb.data());
  const std::vector<int> tokens = prompt();
  for (auto _ : state) {
    model.forget_inputs();
    model.prefill(model.fuse(&picture, tokens), &picture, std::nullopt);
  }
}
BENCHMARK(prefill)->Unit(benchmark::kMillisecond);

// One token of one stream, at the positions that captions have.
void decode_token(benchmark::State& state) {
  constexpr int kCaption = 12;
  BitMar& model = engine().model();
  const Picture picture = model.encode(pixels().rgb.data());
  const Context context = model.fuse(&picture, prompt());
  int position = kCaption;
  for (auto _ : state) {
    if (position == kCaption) {
      state.PauseTiming();
      model.prefill(context, &picture, std::nullopt);
      position = 0;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(model.decode(3 + position++).data());
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(decode_token)->Unit(benchmark::kMillisecond);

// One token of a stream that has filled its window.
void decode_token_full_window(benchmark::State& state) {
  BitMar& model = engine().model();
  const Picture picture = model.encode(pixels().rgb.data());
  model.prefill(model.fuse(&picture, prompt()), &picture, std::nullopt);
  for (int i = 0; i < model.config().decoder.num_sinks + model.config().decoder.window_size; ++i)
    model.decode(3 + i % 200);
  for (auto _ : state) benchmark::DoNotOptimize(model.decode(7).data());
}
BENCHMARK(decode_token_full_window)->Unit(benchmark::kMillisecond);

// Pixels to text.
void whole_caption(benchmark::State& state) {
  CaptionOptions options;
  options.num_beams = static_cast<int>(state.range(0));
  options.max_tokens = 8;  // with beams, within the tiny model's cache too
  for (auto _ : state) {
    engine().model().forget_inputs();
    benchmark::DoNotOptimize(engine().caption(pixels().view(), options).text.data());
  }
}
// Where the time of a frame and its caption goes: a camera's picture, every stage from its first input to its output.
class StageClock : public Observer {
 public:
  void accumulators(std::string_view, const std::int32_t*, int, int) override {}
  void values(std::string_view name, const float*, int, int) override {
    if (name == last_name_) return;  // one more pixel of the same layer of the stem
    last_name_ = name;
    static constexpr std::pair<std::string_view, const char*> kStages[] = {{"stem", "2 stem"},
                                                                           {"vision.layers", "3 vision layers"},
                                                                           {"features", "3 vision layers"},
                                                                           {"vision_", "4 compress"},
                                                                           {"text", "5 text encoder"},
                                                                           {"fus", "6 fusion"},
                                                                           {"pooled", "6 fusion"},
                                                                           {"memory", "7 memory"},
                                                                           {"conditioning", "7 memory"},
                                                                           {"decoder", "8 decoder"},
                                                                           {"logits", "9 head"}};
    for (const auto& [prefix, stage] : kStages) {
      if (name.starts_with(prefix)) return lap(stage);
    }
    lap("other");
  }
  void lap(const char* stage) {
    const auto now = std::chrono::steady_clock::now();
    if (stage) ms[stage] += std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
  }
  std::map<std::string, double> ms;

 private:
  std::chrono::steady_clock::time_point last_;
  std::string last_name_;
};

void caption_by_stage(benchmark::State& state) {
  const Image photo = decode_image(photo_file());
  std::vector<std::uint8_t> frame(std::size_t{640} * 480 * 3);
  resize_bilinear(photo.view(), 640, 480, frame);
  std::vector<std::uint8_t> rgb(pixels().rgb.size());
  StageClock clock;
  engine().model().set_observer(&clock);
  for (auto _ : state) {
    engine().model().forget_inputs();
    clock.lap(nullptr);
    resize_bilinear({frame.data(), 640, 480, 3}, pixels().side, pixels().side, rgb);
    clock.lap("1 resize");
    engine().caption({rgb.data(), pixels().side, pixels().side, 3}, {.max_tokens = 8});
    clock.lap("sampling, text");
  }
  engine().model().set_observer(nullptr);
  for (const auto& [stage, ms] : clock.ms) state.counters[stage] = {ms, benchmark::Counter::kAvgIterations};
}
BENCHMARK(caption_by_stage)->Unit(benchmark::kMillisecond);

// The same picture again, as when it is asked about with the same prompt.
void whole_caption_again(benchmark::State& state) {
  const CaptionOptions options{.max_tokens = 8};
  engine().caption(pixels().view(), options);
  for (auto _ : state) benchmark::DoNotOptimize(engine().caption(pixels().view(), options).text.data());
}
BENCHMARK(whole_caption_again)->Unit(benchmark::kMillisecond);
BENCHMARK(whole_caption)->Arg(1)->Arg(4)->ArgName("beams")->Unit(benchmark::kMillisecond);

}  // namespace
