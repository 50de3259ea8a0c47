// Tries every input of a table of hostile ones (make.mjs) in a process of its own: it must end with one of the codes
// that the table names, without a crash or a hang. usage: bitmar_hostile FOLDER [NAME...]
//
// Prints what took most of the processor's time and most memory. An optimised build without sanitizers also holds each
// to a second of the processor and 256 MB.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/byte_reader.h"
#include "io/error.h"
#include "io/image.h"
#include "io/model_files.h"
#include "model/engine.h"

namespace bitmar {
namespace {

constexpr std::size_t kMostFile = 256 << 20;
// Seconds of the processor, which a busy machine does not change, and of the clock. An optimised build holds every
// input to what SECURITY.md promises; sanitizers are slow.
constexpr unsigned kStopWork = 20, kHang = 300;
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__)
constexpr double kMostWork = 1, kMostMegabytes = 256;
#else
constexpr double kMostWork = kStopWork, kMostMegabytes = 1e9;
#endif

// Frames, each behind four bytes of its length.
std::vector<ByteSpan> frames_of(ByteSpan journal) {
  std::vector<ByteSpan> frames;
  for (std::size_t at = 0; journal.size() - at > 4;) {
    const std::size_t size = little32(journal, at);
    frames.push_back(journal.subspan(at + 4, size));
    at += 4 + size;
  }
  return frames;
}

void try_input(const nlohmann::json& entry, const std::filesystem::path& path, Engine& tiny) {
  const std::string kind = entry["kind"];
  if (kind == "photo") {
    const Image image = decode_image(read_file(path, kMostFile));
    tiny.caption(image.view(), {.max_tokens = 2});
  } else if (kind == "memory") {
    const auto bytes = read_file(path, kMostFile);
    tiny.load_memory(ByteSpan(bytes), {}, false);
  } else if (kind == "journal") {
    const auto bytes = read_file(path, kMostFile);
    const std::vector<ByteSpan> frames =
        entry.value("frames", false) ? frames_of(bytes) : std::vector<ByteSpan>{ByteSpan(bytes)};
    tiny.load_memory(std::nullopt, frames, false);
    if (frames.size() > 1) tiny.load_memory(std::nullopt, frames, false);  // again, on top of what is there
  } else if (kind == "prompt") {
    const auto bytes = read_file(path, kMostFile);
    tiny.caption_text({.prompt = std::string(bytes.begin(), bytes.end()), .max_tokens = 2});
  } else {  // a model with one hostile file
    const auto engine = Engine::load(files_of(read_model_directory(path)));
    const std::vector<std::uint8_t> grey(3 * 32 * 32, 128);
    engine->caption({grey.data(), 32, 32, 3}, {.max_tokens = 2});
  }
}

std::string code_of(const nlohmann::json& entry, const std::filesystem::path& path, Engine& tiny) {
  try {
    try_input(entry, path, tiny);
    return "ok";
  } catch (const Error& error) {
    return std::string(to_string(error.code()));
  } catch (const std::bad_alloc&) {
    return "out_of_memory";
  } catch (const std::exception& error) {
    return std::string("an exception of another type: ") + error.what();
  }
}

struct Outcome {
  std::string name, code;
  double seconds = 0, megabytes = 0;  // of the processor; at most
};

Outcome run(const nlohmann::json& entry, const std::filesystem::path& folder, Engine& tiny) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("no process");
  if (child == 0) {
    close(ends[0]);
    const rlimit work{kStopWork, kStopWork + 1};
    setrlimit(RLIMIT_CPU, &work);
    alarm(kHang);
    const std::string code = code_of(entry, folder / entry["path"].get<std::string>(), tiny);
    const bool told = write(ends[1], code.data(), code.size()) == static_cast<ssize_t>(code.size());
    _exit(told ? 0 : 1);
  }
  close(ends[1]);
  Outcome outcome{.name = entry["name"], .code = ""};
  char part[256];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) outcome.code.append(part, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  if (WIFSIGNALED(status)) {
    const bool slow = WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGXCPU;
    outcome.code = slow ? "hangs" : "killed by signal " + std::to_string(WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    outcome.code = "exit " + std::to_string(WEXITSTATUS(status));
  }
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  outcome.seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  outcome.megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  return outcome;
}

int main(const std::filesystem::path& folder, const std::vector<std::string>& names) {
  const auto text = read_file(folder / "table.json", kMostFile);
  const nlohmann::json table = nlohmann::json::parse(text.begin(), text.end());
  const auto tiny = Engine::load(
      files_of(read_model_directory(std::filesystem::path(BITMAR_SOURCE_DIR) / "tests" / "golden" / "tiny")));
  std::vector<Outcome> outcomes;
  int failed = 0;
  for (const nlohmann::json& entry : table) {
    if (!names.empty() && std::find(names.begin(), names.end(), entry["name"].get<std::string>()) == names.end())
      continue;
    outcomes.push_back(run(entry, folder, *tiny));
    const Outcome& o = outcomes.back();
    const auto& codes = entry["codes"];
    const bool expected = std::find(codes.begin(), codes.end(), o.code) != codes.end();
    const bool limited = !entry.value("honest", false);
    if (expected && (!limited || (o.seconds <= kMostWork && o.megabytes <= kMostMegabytes))) continue;
    ++failed;
    std::printf("FAILED %s: %s after %.1f s, %.0f MB; expected %s\n", o.name.c_str(), o.code.c_str(), o.seconds,
                o.megabytes, codes.dump().c_str());
  }
  const auto show = [&](const char* what, auto before) {
    std::sort(outcomes.begin(), outcomes.end(), before);
    std::printf("%s:\n", what);
    for (std::size_t i = 0; i < std::min<std::size_t>(3, outcomes.size()); ++i) {
      std::printf("  %6.2f s %5.0f MB  %s\n", outcomes[i].seconds, outcomes[i].megabytes, outcomes[i].name.c_str());
    }
  };
  show("slowest", [](const Outcome& a, const Outcome& b) { return a.seconds > b.seconds; });
  show("largest", [](const Outcome& a, const Outcome& b) { return a.megabytes > b.megabytes; });
  std::printf("%zu hostile inputs, %d failed\n", outcomes.size(), failed);
  return failed || outcomes.empty() ? 1 : 0;
}

}  // namespace
}  // namespace bitmar

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bitmar_hostile FOLDER [NAME...]\n");
    return 2;
  }
  return bitmar::main(argv[1], {argv + 2, argv + argc});
}
