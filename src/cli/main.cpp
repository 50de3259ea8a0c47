// bitmar: captions for photos, from the command line.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/arguments.h"
#include "cli/converted.h"
#include "cli/photos.h"
#include "cli/progress.h"
#include "io/error.h"
#include "io/image.h"
#include "io/model_files.h"

namespace bitmar::cli {
namespace {

std::filesystem::path model_folder(const Arguments& arguments, const char* program) {
  return arguments.model ? *arguments.model : find_model(program);
}

std::unique_ptr<Engine> load(const Arguments& arguments, const char* program) {
  const std::filesystem::path folder = model_folder(arguments, program);
  if (is_converted(folder))
    throw Error(ErrorCode::unsupported,
                folder.string() + " is a converted checkpoint: score and complete work with it (docs/compat.md)");
  return Engine::load(files_of(read_model_directory(folder)), arguments.load);
}

void print_line(const nlohmann::ordered_json& line) {
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

void print(const CaptionResult& result, const std::string& photo, Output output) {
  if (output == Output::text) {
    std::cout << result.text << "\n";
    return;
  }
  nlohmann::ordered_json line = {
      {"text", result.text},
      {"tokens", result.tokens},
      {"log_probability", result.log_probability},
      {"confidence", result.confidence ? nlohmann::ordered_json(*result.confidence) : nullptr},
      {"vision_ms", result.vision_ms},
      {"text_ms", result.text_ms}};
  if (output == Output::jsonl) line["photo"] = photo;
  print_line(line);
}

void print(const Answer& answer, const std::string& photo, const std::string& question, Output output) {
  if (output == Output::text) {
    std::cout << (answer.declined ? "(no answer)" : answer.text) << "\n";
    return;
  }
  nlohmann::ordered_json line = {{"answer", answer.text},           {"declined", answer.declined},
                                 {"tokens", answer.tokens},         {"log_probability", answer.log_probability},
                                 {"confidence", answer.confidence}, {"vision_ms", answer.vision_ms},
                                 {"text_ms", answer.text_ms}};
  if (output == Output::jsonl) line.update({{"photo", photo}, {"question", question}});
  print_line(line);
}

// What is wrong with one photo and not with all; of a question or text also what is wrong with that.
bool is_of_one(ErrorCode code, Arguments::Command command) {
  switch (code) {
    case ErrorCode::missing_file:
    case ErrorCode::invalid_image:
    case ErrorCode::image_too_large:
    case ErrorCode::unsupported_image:
      return true;
    case ErrorCode::invalid_argument:
    case ErrorCode::invalid_text:
    case ErrorCode::text_too_long:
      return command != Arguments::Command::caption;
    default:
      return false;
  }
}

// As JSON among the results, where these are JSON.
void complain(const Error& error, const nlohmann::ordered_json& about, Output output) {
  if (output == Output::text) {
    std::cerr << "bitmar: " << to_string(error.code()) << ": " << error.what() << "\n";
    return;
  }
  nlohmann::ordered_json line = {{"error", {{"code", to_string(error.code())}, {"message", error.what()}}}};
  line.update(about);
  print_line(line);
}

// One thing after the other that the command line names. One that goes wrong is complained about, with its name where
// there are several, and the next has its turn.
class Turns {
 public:
  Turns(const Arguments& arguments, std::size_t total) : arguments_(arguments), total_(total) {}

  template <class F>
  void take(const std::string& name, const nlohmann::ordered_json& about, const F& f) {
    bar_.show(done_++, total_);
    try {
      f();
    } catch (const Error& error) {
      bar_.clear();
      const std::string named = total_ == 1 ? error.what() : name + ": " + error.what();
      if (!is_of_one(error.code(), arguments_.command)) throw Error(error.code(), named);
      complain(arguments_.output == Output::text ? Error(error.code(), named) : error, about, arguments_.output);
      failed_ = true;
    }
    bar_.clear();
    std::cout.flush();
  }

  template <class F>
  void take_photo(std::size_t i, const F& f) {
    const std::string& photo = arguments_.photos[i];
    nlohmann::ordered_json about = {{"photo", photo}};
    if (!arguments_.questions.empty()) about["question"] = arguments_.questions[i];
    take(photo, about, f);
  }

  bool failed() const { return failed_; }

 private:
  const Arguments& arguments_;
  ProgressBar bar_;
  std::size_t total_, done_ = 0;
  bool failed_ = false;
};

// Each: whether all went well.

bool caption(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  Turns turns(arguments, arguments.photos.size());
  for (std::size_t i = 0; i < arguments.photos.size(); ++i) {
    turns.take_photo(i, [&] {
      const Image image = decode_image(read_photo(arguments.photos[i]));
      print(engine->caption(image.view(), arguments.options), arguments.photos[i], arguments.output);
    });
  }
  return !turns.failed();
}

// Questions about the same photo one after another: it is decoded once, and the engine sees it once.
bool ask(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  Turns turns(arguments, arguments.photos.size());
  std::optional<std::string> seen;
  Image image;
  for (std::size_t i = 0; i < arguments.photos.size(); ++i) {
    turns.take_photo(i, [&] {
      const auto& photo = arguments.photos[i];
      if (seen != photo) {
        seen.reset();
        image = decode_image(read_photo(photo));
        seen = photo;
      }
      print(engine->ask(image.view(), arguments.questions[i], arguments.ask), photo, arguments.questions[i],
            arguments.output);
    });
  }
  return !turns.failed();
}

// One line a photo, then one a text.
bool embed(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  Turns turns(arguments, arguments.photos.size() + arguments.texts.size());
  const auto line = [](const char* kind, const std::string& of, std::span<const float> unit) {
    const nlohmann::ordered_json vector = std::vector<float>(unit.begin(), unit.end());
    print_line({{kind, of}, {"embedding", vector}});
  };
  for (std::size_t i = 0; i < arguments.photos.size(); ++i) {
    turns.take_photo(i, [&] {
      const Image image = decode_image(read_photo(arguments.photos[i]));
      const ImageView view = image.view();
      line("photo", arguments.photos[i], engine->embed(&view, arguments.options.prompt));
    });
  }
  for (const std::string& text : arguments.texts) {
    turns.take("\"" + text + "\"", {{"text", text}}, [&] { line("text", text, engine->embed(nullptr, text)); });
  }
  return !turns.failed();
}

std::vector<Score> scores(const Arguments& arguments, const char* program) {
  const std::filesystem::path folder = model_folder(arguments, program);
  if (is_converted(folder)) return scores_of_converted(folder, arguments);
  const auto engine = load(arguments, program);
  Image image;
  if (!arguments.photos.empty()) image = decode_image(read_photo(arguments.photos[0]));
  const ImageView view = image.view();
  return engine->score(arguments.photos.empty() ? nullptr : &view, arguments.prefix.value_or(""), arguments.texts);
}

// One line a text.
void score(const Arguments& arguments, const char* program) {
  const std::vector<Score> all = scores(arguments, program);
  for (std::size_t i = 0; i < all.size(); ++i) {
    print_line({{"text", arguments.texts[i]},
                {"log_probability", all[i].log_probability},
                {"per_token", all[i].per_token},
                {"per_byte", all[i].per_byte},
                {"tokens", all[i].tokens},
                {"log_probabilities", all[i].log_probabilities}});
  }
}

void complete(const Arguments& arguments, const char* program) {
  const auto print_said = [&](const auto& said) {
    print_line({{"text", said.text}, {"tokens", said.tokens}, {"log_probability", said.log_probability}});
  };
  const bool plain = arguments.output == Output::text;
  const std::filesystem::path folder = model_folder(arguments, program);
  if (is_converted(folder)) {
    const compat::TextModel::Completion said = complete_by_converted(folder, arguments);
    if (plain) {
      std::cout << said.text << "\n";
    } else {
      print_said(said);
    }
    return;
  }
  for (const std::string& given : arguments.of_own_models) {
    if (given == "--prompt" || given == "--beams" || given == "--length-penalty")
      throw UsageError("complete takes no " + given);
  }
  const auto engine = load(arguments, program);
  CaptionOptions options = arguments.options;
  options.prefix = arguments.prefix.value_or("");
  // Pieces as they come, where a person reads them.
  const TokenCallback on_piece = [&](std::string_view piece) { return !plain || (std::cout << piece << std::flush); };
  CaptionResult said;
  if (arguments.photos.empty()) {
    said = engine->caption_text(options, on_piece);
  } else {
    const Image image = decode_image(read_photo(arguments.photos[0]));
    said = engine->caption(image.view(), options, on_piece);
  }
  if (plain) {
    std::cout << "\n";
  } else {
    print_said(said);
  }
}

void info(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  const MemoryReport bytes = engine->bytes();
  const std::pair<const char*, std::size_t> rows[] = {
      {"weights", bytes.weights},           {"activations", bytes.activations}, {"kv_cache", bytes.kv_cache},
      {"memory_slots", bytes.memory_slots}, {"scratch", bytes.scratch},         {"total", bytes.total()}};
  const std::size_t parameters = engine->model().weights().parameters;
  if (arguments.output != Output::text) {
    nlohmann::ordered_json counts;
    for (const auto& [name, count] : rows) counts[name] = count;
    print_line({{"kernels", engine->kernels_name()},
                {"threads", engine->threads()},
                {"parameters", parameters},
                {"bytes", counts}});
    return;
  }
  std::printf("%-14s %s\n", "kernels", engine->kernels_name());
  if (const char* rejected = chosen_kernels().rejected) std::printf("%-14s %s\n", "rejected", rejected);
  std::printf("%-14s %d\n", "threads", engine->threads());
  std::printf("%-14s %zu\n", "parameters", parameters);
  for (const auto& [name, count] : rows) {
    std::string words = name;
    std::ranges::replace(words, '_', ' ');
    std::printf("%-14s %zu bytes\n", words.c_str(), count);
  }
}

int run(int argc, char** argv) {
  const Arguments arguments = parse_arguments({argv + 1, argv + argc});
  bool well = true;
  switch (arguments.command) {
    case Arguments::Command::caption:
      well = caption(arguments, argv[0]);
      break;
    case Arguments::Command::ask:
      well = ask(arguments, argv[0]);
      break;
    case Arguments::Command::embed:
      well = embed(arguments, argv[0]);
      break;
    case Arguments::Command::score:
      score(arguments, argv[0]);
      break;
    case Arguments::Command::complete:
      complete(arguments, argv[0]);
      break;
    case Arguments::Command::info:
      info(arguments, argv[0]);
      break;
    case Arguments::Command::version:
      std::cout << BITMAR_VERSION << "\n";
      break;
    case Arguments::Command::help:
      std::cout << kUsage;
      break;
  }
  // A full disk is noticed only here.
  if (!std::cout.flush() || std::fflush(stdout) != 0 || std::ferror(stdout)) {
    std::cerr << "bitmar: the output could not be written\n";
    return 1;
  }
  return well ? 0 : 1;
}

// For errors before the arguments are understood, too.
Output output_of(const std::vector<std::string>& given) {
  const auto has = [&](const char* word) { return std::ranges::find(given, word) != given.end(); };
  return has("--json") || has("--jsonl") ? Output::json : Output::text;
}

}  // namespace
}  // namespace bitmar::cli

// Reporting an error may itself run out of memory; the program then terminates.
int main(int argc, char** argv) {  // NOLINT(bugprone-exception-escape)
  const bitmar::cli::Output output = bitmar::cli::output_of({argv + 1, argv + argc});
  try {
    return bitmar::cli::run(argc, argv);
  } catch (const bitmar::cli::UsageError& error) {
    std::cerr << "bitmar: " << error.what() << "\n\n" << bitmar::cli::kUsage;
    return 2;
  } catch (const bitmar::Error& error) {
    bitmar::cli::complain(error, nlohmann::ordered_json::object(), output);
  } catch (const std::bad_alloc&) {
    const bitmar::Error error(bitmar::ErrorCode::out_of_memory, "there is not enough memory");
    bitmar::cli::complain(error, nlohmann::ordered_json::object(), output);
  } catch (const std::exception& error) {
    std::cerr << "bitmar: " << error.what() << "\n";
  }
  return 1;
}
