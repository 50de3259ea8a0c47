// bitmar: captions for photos, from the command line.
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>

#include "cli/arguments.h"
#include "io/error.h"
#include "io/image.h"
#include "io/model_files.h"

namespace bitmar::cli {
namespace {

std::unique_ptr<Engine> load(const Arguments& arguments, const char* program) {
  const ModelDirectory model = read_model_directory(arguments.model ? *arguments.model : find_model(program));
  return Engine::load(files_of(model), arguments.load);
}

void print_line(const nlohmann::ordered_json& line) {
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

void print(const CaptionResult& result, const std::filesystem::path& photo, Output output) {
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
  if (output == Output::jsonl) line["photo"] = photo.string();
  print_line(line);
}

void print(const Answer& answer, const std::filesystem::path& photo, const std::string& question, Output output) {
  if (output == Output::text) {
    std::cout << (answer.declined ? "(no answer)" : answer.text) << "\n";
    return;
  }
  nlohmann::ordered_json line = {{"answer", answer.text},           {"declined", answer.declined},
                                 {"tokens", answer.tokens},         {"log_probability", answer.log_probability},
                                 {"confidence", answer.confidence}, {"vision_ms", answer.vision_ms},
                                 {"text_ms", answer.text_ms}};
  if (output == Output::jsonl) line.update({{"photo", photo.string()}, {"question", question}});
  print_line(line);
}

// Where there are several photos, what goes wrong names its own.
template <class F>
void for_each_photo(const Arguments& arguments, const F& f) {
  for (std::size_t i = 0; i < arguments.photos.size(); ++i) {
    try {
      f(i);
    } catch (const Error& error) {
      if (arguments.photos.size() == 1) throw;
      throw Error(error.code(), arguments.photos[i].string() + ": " + error.what());
    }
  }
}

void caption(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  for_each_photo(arguments, [&](std::size_t i) {
    const Image image = decode_image(read_file(arguments.photos[i], kMaxImageFile));
    print(engine->caption(image.view(), arguments.options), arguments.photos[i], arguments.output);
  });
}

// Questions about the same photo one after another: it is decoded once, and the engine sees it once.
void ask(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  Image image;
  for_each_photo(arguments, [&](std::size_t i) {
    const auto& photo = arguments.photos[i];
    if (i == 0 || photo != arguments.photos[i - 1]) image = decode_image(read_file(photo, kMaxImageFile));
    print(engine->ask(image.view(), arguments.questions[i], arguments.ask), photo, arguments.questions[i],
          arguments.output);
  });
}

// One line a photo, then one a text.
void embed(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  const auto line = [](const char* kind, const std::string& of, std::span<const float> unit) {
    const nlohmann::ordered_json vector = std::vector<float>(unit.begin(), unit.end());
    print_line({{kind, of}, {"embedding", vector}});
  };
  for (const auto& photo : arguments.photos) {
    const Image image = decode_image(read_file(photo, kMaxImageFile));
    const ImageView view = image.view();
    line("photo", photo.string(), engine->embed(&view, arguments.options.prompt));
  }
  for (const std::string& text : arguments.texts) line("text", text, engine->embed(nullptr, text));
}

void info(const Arguments& arguments, const char* program) {
  const auto engine = load(arguments, program);
  const MemoryReport bytes = engine->bytes();
  std::printf("%-14s %s\n", "kernels", engine->kernels_name());
  if (const char* rejected = chosen_kernels().rejected) std::printf("%-14s %s\n", "rejected", rejected);
  std::printf("%-14s %d\n", "threads", engine->threads());
  std::printf("%-14s %zu\n", "parameters", engine->model().weights().parameters);
  const std::pair<const char*, std::size_t> rows[] = {
      {"weights", bytes.weights},           {"activations", bytes.activations}, {"kv cache", bytes.kv_cache},
      {"memory slots", bytes.memory_slots}, {"scratch", bytes.scratch},         {"total", bytes.total()}};
  for (const auto& [name, count] : rows) std::printf("%-14s %zu bytes\n", name, count);
}

int run(int argc, char** argv) {
  const Arguments arguments = parse_arguments({argv + 1, argv + argc});
  switch (arguments.command) {
    case Arguments::Command::caption:
      caption(arguments, argv[0]);
      break;
    case Arguments::Command::ask:
      ask(arguments, argv[0]);
      break;
    case Arguments::Command::embed:
      embed(arguments, argv[0]);
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
  return 0;
}

}  // namespace
}  // namespace bitmar::cli

int main(int argc, char** argv) {
  try {
    return bitmar::cli::run(argc, argv);
  } catch (const bitmar::cli::UsageError& error) {
    std::cerr << "bitmar: " << error.what() << "\n\n" << bitmar::cli::kUsage;
    return 2;
  } catch (const bitmar::Error& error) {
    std::cerr << "bitmar: " << to_string(error.code()) << ": " << error.what() << "\n";
  } catch (const std::bad_alloc&) {
    std::cerr << "bitmar: out_of_memory: there is not enough memory\n";
  } catch (const std::exception& error) {
    std::cerr << "bitmar: " << error.what() << "\n";
  }
  return 1;
}
