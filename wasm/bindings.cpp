// The engine as JavaScript sees it (web/bitmar/src/engine.ts). Values are converted here and nothing is decided.
#include <emscripten/bind.h>
#include <emscripten/val.h>

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/error.h"
#include "io/image.h"
#include "model/engine.h"

namespace {

using bitmar::Engine;
using emscripten::convertJSArrayToNumberVector;
using emscripten::val;

[[noreturn]] void throw_to_js(const std::string& code, const std::string& message) {
  val error = val::global("Error").new_(message);
  error.set("code", code);
  error.throw_();
  __builtin_unreachable();
}

// Runs f; an Error becomes a JavaScript Error with the same `code`. Thrown after the catch, which is C++'s own affair.
template <typename F>
auto guarded(F&& f) {
  std::string code, message;
  try {
    return f();
  } catch (const bitmar::Error& error) {
    code = to_string(error.code());
    message = error.what();
  } catch (const std::bad_alloc&) {
    code = "out_of_memory";
    message = "there is not enough memory";
  }
  throw_to_js(code, message);
}

bitmar::CaptionOptions options_of(const val& object) {
  bitmar::CaptionOptions options;
  options.prompt = object["prompt"].as<std::string>();
  options.max_tokens = object["maxTokens"].as<int>();
  options.num_beams = object["numBeams"].as<int>();
  options.length_penalty = object["lengthPenalty"].as<double>();
  options.temperature = object["temperature"].as<float>();
  options.top_p = object["topP"].as<float>();
  options.seed = static_cast<std::uint64_t>(object["seed"].as<double>());
  return options;
}

std::unique_ptr<Engine> load(const std::string& config, const std::string& tokenizer, const std::string& preprocessor,
                             const val& weights) {
  return guarded([&] {
    const auto bytes = convertJSArrayToNumberVector<std::uint8_t>(weights);
    return Engine::load({config, tokenizer, preprocessor, bytes});
  });
}

void begin_pixels(Engine& engine, const val& pixels, int width, int height, const val& options) {
  guarded([&] {
    const auto bytes = convertJSArrayToNumberVector<std::uint8_t>(pixels);
    engine.begin(bitmar::image_view(bytes, width, height), options_of(options));
  });
}

void begin_file(Engine& engine, const val& file, const val& options) {
  guarded([&] {
    const auto bytes = convertJSArrayToNumberVector<std::uint8_t>(file);
    engine.begin(bitmar::decode_image(bytes).view(), options_of(options));
  });
}

void begin_features(Engine& engine, const val& features, const val& options) {
  guarded([&] { engine.begin_features(convertJSArrayToNumberVector<float>(features), options_of(options)); });
}

val step(Engine& engine) {
  return guarded([&] {
    const std::optional<std::string_view> piece = engine.step();
    return piece ? val(std::string(*piece)) : val::null();
  });
}

val result(const Engine& engine) {
  const bitmar::CaptionResult caption = engine.result();
  val object = val::object();
  object.set("text", caption.text);
  object.set("tokens", val::array(caption.tokens));
  object.set("logProbability", caption.log_probability);
  object.set("confidence", caption.confidence ? val(*caption.confidence) : val::null());
  object.set("visionMs", caption.vision_ms);
  object.set("textMs", caption.text_ms);
  return object;
}

std::string kernels_name(const Engine& engine) { return engine.kernels_name(); }

val bytes(const Engine& engine) {
  const bitmar::MemoryReport report = engine.bytes();
  val object = val::object();
  object.set("weights", report.weights);
  object.set("activations", report.activations);
  object.set("kvCache", report.kv_cache);
  object.set("memorySlots", report.memory_slots);
  object.set("scratch", report.scratch);
  return object;
}

}  // namespace

EMSCRIPTEN_BINDINGS(bitmar) {
  emscripten::class_<Engine>("Engine")
      .class_function("load", &load)
      .function("beginPixels", &begin_pixels)
      .function("beginFile", &begin_file)
      .function("beginFeatures", &begin_features)
      .function("step", &step)
      .function("result", &result)
      .function("kernelsName", &kernels_name)
      .function("bytes", &bytes);
}
