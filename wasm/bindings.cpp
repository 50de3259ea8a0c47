// The engine as JavaScript sees it (web/bitmar/src/engine.ts). Values are converted here and nothing is decided.
#include <emscripten/bind.h>
#include <emscripten/val.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert.h"
#include "io/error.h"
#include "io/image.h"
#include "model/engine.h"

namespace {

using bitmar::bytes_of;
using bitmar::copy_of;
using bitmar::Engine;
using bitmar::guarded;
using bitmar::whole;
using emscripten::convertJSArrayToNumberVector;
using emscripten::val;

// A value that may be null.
template <class T>
std::optional<T> optional_of(const val& value) {
  if (value.isNull() || value.isUndefined()) return std::nullopt;
  return value.as<T>();
}

val text_or_null(std::string_view text) { return text.empty() ? val::null() : val(std::string(text)); }

bitmar::CaptionOptions options_of(const val& object) {
  bitmar::CaptionOptions options;
  options.prompt = object["prompt"].as<std::string>();
  options.max_tokens = whole<int>(object["maxTokens"].as<double>(), "maxTokens");
  options.num_beams = whole<int>(object["numBeams"].as<double>(), "numBeams");
  options.length_penalty = optional_of<double>(object["lengthPenalty"]);
  options.temperature = object["temperature"].as<float>();
  options.top_p = object["topP"].as<float>();
  options.seed = whole<std::uint64_t>(object["seed"].as<double>(), "seed");
  options.read_memory = optional_of<bool>(object["readMemory"]).value_or(false);
  options.prefix = object["prefix"].as<std::string>();
  return options;
}

bitmar::AskOptions ask_options_of(const val& object) {
  return {.num_beams = object["numBeams"].as<int>(), .max_tokens = optional_of<int>(object["maxTokens"])};
}

std::unique_ptr<Engine> load(const std::string& config, const std::string& tokenizer, const std::string& preprocessor,
                             const val& weights, const val& options) {
  return guarded([&] {
    const auto bytes = bytes_of(weights);
    auto engine = Engine::load({config, tokenizer, preprocessor, bytes},
                               {.int8_kv_cache = options["int8KvCache"].as<bool>(),
                                .threads = whole<int>(options["threads"].as<double>(), "threads")});
    if (options["additiveMemory"].as<bool>()) engine->memory().set_policy(bitmar::WritePolicy::additive);
    return engine;
  });
}

// Looks at `bytes`.
bitmar::ImageView view_of(const std::vector<std::uint8_t>& bytes, double width, double height) {
  return bitmar::image_view(bytes, whole<int>(width, "width"), whole<int>(height, "height"));
}

void begin_pixels(Engine& engine, const val& pixels, double width, double height, const val& options) {
  guarded([&] {
    const auto bytes = bytes_of(pixels);
    engine.begin(view_of(bytes, width, height), options_of(options));
  });
}

void begin_features(Engine& engine, const val& features, const val& options) {
  guarded([&] { engine.begin_features(convertJSArrayToNumberVector<float>(features), options_of(options)); });
}

void begin_text(Engine& engine, const val& options) {
  guarded([&] { engine.begin_text(options_of(options)); });
}

val step(Engine& engine) {
  return guarded([&] {
    const std::optional<std::string_view> piece = engine.step();
    return piece ? val(std::string(*piece)) : val::null();
  });
}

// What a caption and an answer have in common.
template <class Result>
val result_of(const Result& said) {
  val object = val::object();
  object.set("tokens", val::array(said.tokens));
  object.set("logProbability", said.log_probability);
  object.set("visionMs", said.vision_ms);
  object.set("textMs", said.text_ms);
  return object;
}

// ---- Questions ----

val answer_of(const bitmar::Answer& answer) {
  val object = result_of(answer);
  object.set("answer", answer.text);
  object.set("confidence", answer.confidence);
  object.set("declined", answer.declined);
  return object;
}

val ask_pixels(Engine& engine, const val& pixels, int width, int height, const std::string& question,
               const val& options) {
  return guarded([&] {
    const auto bytes = bytes_of(pixels);
    return answer_of(engine.ask(bitmar::image_view(bytes, width, height), question, ask_options_of(options)));
  });
}

val ask_features(Engine& engine, const val& features, const std::string& question, const val& options) {
  return guarded([&] {
    return answer_of(
        engine.ask_features(convertJSArrayToNumberVector<float>(features), question, ask_options_of(options)));
  });
}

// Ids and sequence numbers stay below 2^53.
double number(std::uint64_t v) { return static_cast<double>(v); }

// 0, which is nobody's id and the number before all changes, of what is none.
std::uint64_t count_of(double v) { return v >= 0 && v <= 0x1p53 ? static_cast<std::uint64_t>(v) : 0; }

// ---- How a caption comes about ----

// An array of what `entry` makes of each item.
template <class Items, class Entry>
val array_of(const Items& items, const Entry& entry) {
  val list = val::array();
  for (const auto& item : items) {
    val object = val::object();
    entry(item, object);
    list.call<void>("push", object);
  }
  return list;
}

val explain_pixels(Engine& engine, const val& pixels, double width, double height, const std::string& text,
                   const val& options) {
  return guarded([&] {
    const auto bytes = bytes_of(pixels);
    const bitmar::Explanation told =
        engine.explain(view_of(bytes, width, height), text,
                       {.prompt = options["prompt"].as<std::string>(),
                        .read_memory = options["readMemory"].as<bool>(),
                        .without_episode = count_of(options["withoutEpisode"].as<double>()),
                        .expected = whole<int>(options["expected"].as<double>(), "expected")});
    val object = val::object();
    object.set("side", told.side);
    object.set("words", array_of(told.words, [](const bitmar::ExplainedWord& word, val& entry) {
                 entry.set("text", word.text);
                 entry.set("probability", word.probability);
                 entry.set("patches", copy_of(word.patches));
                 entry.set("prompt", word.prompt);
                 entry.set("memory", word.memory);
                 entry.set("before", word.before);
               }));
    object.set("expected", array_of(told.expected, [](const bitmar::ExpectedWord& word, val& entry) {
                 entry.set("text", word.text);
                 entry.set("probability", word.probability);
               }));
    object.set("memory", array_of(told.memory, [](const bitmar::EpisodeRead& read, val& entry) {
                 entry.set("id", number(read.id));
                 entry.set("share", read.share);
               }));
    return object;
  });
}

// ---- How likely a text is ----

val scores_of(const std::vector<bitmar::Score>& scores) {
  return array_of(scores, [](const bitmar::Score& score, val& entry) {
    entry.set("logProbability", score.log_probability);
    entry.set("perToken", score.per_token);
    entry.set("perByte", score.per_byte);
    entry.set("tokens", val::array(score.tokens));
    entry.set("logProbabilities", val::array(score.log_probabilities));
  });
}

val score_pixels(Engine& engine, const val& pixels, double width, double height, const std::string& prefix,
                 const val& continuations, bool end) {
  return guarded([&] {
    const auto bytes = bytes_of(pixels);
    const bitmar::ImageView view = view_of(bytes, width, height);
    const auto texts = emscripten::vecFromJSArray<std::string>(continuations);
    return scores_of(engine.score(&view, prefix, texts, {.end = end}));
  });
}

val score_text(Engine& engine, const std::string& prefix, const val& continuations, bool end) {
  return guarded([&] {
    const auto texts = emscripten::vecFromJSArray<std::string>(continuations);
    return scores_of(engine.score(nullptr, prefix, texts, {.end = end}));
  });
}

// ---- Memory ----

using bitmar::EpisodicMemory;

val written_of(const EpisodicMemory::Written& written) {
  static constexpr const char* kOutcomes[] = {"blended", "added", "replaced"};
  val object = val::object();
  object.set("id", number(written.id));
  object.set("outcome", std::string(kOutcomes[static_cast<int>(written.outcome)]));
  object.set("similarity", written.similarity);
  object.set("replacedId", written.replaced_id ? val(number(written.replaced_id)) : val::null());
  return object;
}

val entry_of(const bitmar::Episode& episode) {
  val object = val::object();
  object.set("id", number(episode.id));
  object.set("createdMs", episode.created_ms);
  object.set("lastUsedMs", episode.last_used_ms);
  object.set("uses", episode.uses);
  object.set("strength", episode.strength);
  object.set("label", text_or_null(episode.label()));
  return object;
}

bitmar::Episode episode_of(const val& entry) {
  bitmar::Episode episode{.id = count_of(entry["id"].as<double>()),
                          .created_ms = entry["createdMs"].as<double>(),
                          .last_used_ms = entry["lastUsedMs"].as<double>(),
                          .uses = entry["uses"].as<std::uint32_t>(),
                          .strength = entry["strength"].as<float>()};
  episode.set_label(optional_of<std::string>(entry["label"]).value_or(""));
  return episode;
}

// Throws invalid_argument when there is no such episode.
int slot_of(Engine& engine, double id) {
  const int slot = engine.memory().find(count_of(id));
  if (slot < 0) throw bitmar::Error(bitmar::ErrorCode::invalid_argument, "there is no such episode");
  return slot;
}

void memory_configure(Engine& engine, double slots) {
  guarded([&] { engine.resize_memory(whole<int>(slots, "slots")); });
}

val memory_write(Engine& engine, double now_ms, const val& label) {
  return guarded([&] {
    const auto name = optional_of<std::string>(label);
    return written_of(name ? engine.teach(now_ms, *name) : engine.remember(now_ms, engine.result().text));
  });
}

val memory_teach_pixels(Engine& engine, const val& pixels, double width, double height, const std::string& label,
                        double now_ms) {
  return guarded([&] {
    const auto bytes = bytes_of(pixels);
    return written_of(engine.teach(view_of(bytes, width, height), now_ms, label));
  });
}

val embed_pixels(Engine& engine, const val& pixels, double width, double height, const val& text) {
  return guarded([&] {
    const auto bytes = bytes_of(pixels);
    const bitmar::ImageView view = view_of(bytes, width, height);
    return copy_of(engine.embed(&view, optional_of<std::string>(text).value_or("")));
  });
}

val embed_text(Engine& engine, const std::string& text) {
  return guarded([&] { return copy_of(engine.embed(nullptr, text)); });
}

val memory_recall(Engine& engine, const val& query, double k, float least) {
  return guarded([&] {
    EpisodicMemory& memory = engine.memory();
    const std::uint64_t wanted = std::min<std::uint64_t>(whole<std::uint64_t>(k, "k"), memory.capacity());
    std::vector<bitmar::Match> matches(static_cast<std::size_t>(wanted));
    matches.resize(memory.recall(convertJSArrayToNumberVector<float>(query), matches, least));
    val list = val::array();
    for (const bitmar::Match& match : matches) {
      val entry = entry_of(memory.slot(match.slot));
      entry.set("similarity", match.similarity);
      list.call<void>("push", entry);
    }
    return list;
  });
}

val memory_recognise(Engine& engine, const val& query) {
  return guarded([&] {
    const auto recognised = engine.memory().recognise(convertJSArrayToNumberVector<float>(query));
    if (!recognised) return val::null();
    val object = val::object();
    object.set("label", recognised->label);
    object.set("score", recognised->score);
    return object;
  });
}

void memory_touch(Engine& engine, double id, double now_ms) {
  guarded([&] { engine.memory().touch(slot_of(engine, id), now_ms); });
}

void memory_label(Engine& engine, double id, const val& label) {
  guarded([&] { engine.memory().set_label(slot_of(engine, id), optional_of<std::string>(label).value_or("")); });
}

bool memory_forget(Engine& engine, double id) {
  return guarded([&] {
    const int slot = engine.memory().find(count_of(id));
    if (slot >= 0) engine.memory().forget(slot);
    return slot >= 0;
  });
}

void memory_clear(Engine& engine) {
  guarded([&] { engine.memory().forget_all(); });
}

val memory_list(Engine& engine) {
  const EpisodicMemory& memory = engine.memory();
  val list = val::array();
  for (int i = 0; i < memory.capacity(); ++i) {
    if (memory.occupied(i)) list.call<void>("push", entry_of(memory.slot(i)));
  }
  return list;
}

val memory_stats(Engine& engine) {
  const EpisodicMemory& memory = engine.memory();
  val object = val::object();
  object.set("slots", memory.capacity());
  object.set("occupied", memory.size());
  object.set("bytes", engine.bytes().memory_slots);
  object.set("sequence", number(memory.sequence()));
  object.set("width", memory.settings().width);
  return object;
}

val memory_snapshot(Engine& engine) {
  return guarded([&] { return copy_of(engine.memory().snapshot()); });
}

val memory_changes(Engine& engine, double since) {
  return guarded([&] { return copy_of(engine.memory().changes_since(count_of(since))); });
}

val report_of(const EpisodicMemory::LoadReport& report) {
  val object = val::object();
  object.set("loaded", report.loaded);
  object.set("droppedSlots", report.dropped_slots);
  object.set("droppedFrames", report.dropped_frames);
  object.set("gaps", report.gaps);
  object.set("leftOut", report.left_out);
  object.set("sequence", number(report.sequence));
  return object;
}

// A snapshot, which may be null, and frames, as bytes that last as long as this.
struct SavedBytes {
  SavedBytes(const val& snapshot, const val& list) {
    if (!snapshot.isNull()) kept.push_back(bytes_of(snapshot));
    for (const val& frame : emscripten::vecFromJSArray<val>(list)) kept.push_back(bytes_of(frame));
    frames.assign(kept.begin() + (snapshot.isNull() ? 0 : 1), kept.end());
    if (!snapshot.isNull()) whole = kept[0];
  }

  std::vector<std::vector<std::uint8_t>> kept;
  std::optional<bitmar::ByteSpan> whole;
  std::vector<bitmar::ByteSpan> frames;
};

val memory_load(Engine& engine, const val& snapshot, const val& frames, bool shrink) {
  return guarded([&] {
    const SavedBytes saved(snapshot, frames);
    return report_of(engine.load_memory(saved.whole, saved.frames, shrink));
  });
}

val memory_adopt(Engine& engine, const val& snapshot, bool shrink) {
  return guarded([&] { return report_of(engine.adopt_memory(bytes_of(snapshot), shrink)); });
}

val memory_merged(const Engine& engine, const val& snapshot, const val& frames) {
  return guarded([&] {
    const SavedBytes saved(snapshot, frames);
    const auto bytes = EpisodicMemory::merged(saved.whole, saved.frames, engine.kernels());
    const bitmar::MemoryStateReader reader(bytes, bitmar::MemoryStateReader::width_of(bytes));
    val episodes = val::array();
    bitmar::MemoryRecord record;
    for (int i = 0; i < reader.records(); ++i) {
      if (reader.read(i, record)) episodes.call<void>("push", entry_of(record.episode));
    }
    val object = val::object();
    object.set("snapshot", copy_of(bytes));
    object.set("episodes", episodes);
    return object;
  });
}

void memory_restore_pixels(Engine& engine, const val& pixels, int width, int height, const val& entry,
                           const std::string& text) {
  guarded([&] {
    const auto bytes = bytes_of(pixels);
    engine.restore(bitmar::image_view(bytes, width, height), episode_of(entry), text);
  });
}

// ---- Results ----

val result(const Engine& engine) {
  const bitmar::CaptionResult caption = engine.result();
  val object = result_of(caption);
  object.set("text", caption.text);
  object.set("confidence", caption.confidence ? val(*caption.confidence) : val::null());
  object.set("alternatives", array_of(caption.alternatives, [](const bitmar::Alternative& other, val& entry) {
               entry.set("text", other.text);
               entry.set("logProbability", other.log_probability);
             }));
  return object;
}

std::string kernels_name(const Engine& engine) { return engine.kernels_name(); }

std::size_t parameters(Engine& engine) { return engine.model().weights().parameters; }

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
      .function("beginFeatures", &begin_features)
      .function("beginText", &begin_text)
      .function("step", &step)
      .function("result", &result)
      .function("canAsk", &Engine::can_ask)
      .function("askPixels", &ask_pixels)
      .function("askFeatures", &ask_features)
      .function("explainPixels", &explain_pixels)
      .function("scorePixels", &score_pixels)
      .function("scoreText", &score_text)
      .function("embedPixels", &embed_pixels)
      .function("embedText", &embed_text)
      .function("memoryConfigure", &memory_configure)
      .function("memoryWrite", &memory_write)
      .function("memoryTeachPixels", &memory_teach_pixels)
      .function("memoryRecall", &memory_recall)
      .function("memoryRecognise", &memory_recognise)
      .function("memoryTouch", &memory_touch)
      .function("memoryLabel", &memory_label)
      .function("memoryForget", &memory_forget)
      .function("memoryClear", &memory_clear)
      .function("memoryList", &memory_list)
      .function("memoryStats", &memory_stats)
      .function("memorySnapshot", &memory_snapshot)
      .function("memoryChanges", &memory_changes)
      .function("memoryLoad", &memory_load)
      .function("memoryAdopt", &memory_adopt)
      .function("memoryMerged", &memory_merged)
      .function("memoryRestorePixels", &memory_restore_pixels)
      .function("threads", &Engine::threads)
      .function("kernelsName", &kernels_name)
      .function("parameters", &parameters)
      .function("bytes", &bytes);
}
