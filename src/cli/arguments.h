// The command line, parsed.
#pragma once

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/engine.h"

namespace bitmar::cli {

struct UsageError : std::runtime_error {
  // Quotes what was given, as far as one can read it.
  explicit UsageError(const std::string& message)
      : std::runtime_error(message.size() <= kMost ? message : message.substr(0, kMost) + "...") {}
  static constexpr std::size_t kMost = 1000;
};

inline constexpr const char* kUsage =
    "usage: bitmar caption PHOTO... [options]\n"
    "       bitmar ask PHOTO QUESTION [options]\n"
    "       bitmar embed [PHOTO...] [--text TEXT] [--texts FILE]\n"
    "       bitmar score [PHOTO] [--prefix TEXT] --text TEXT... [--texts FILE]   (a converted checkpoint: [VECTOR])\n"
    "       bitmar complete [PHOTO] [--prefix TEXT] [options]   (a converted checkpoint: [VECTOR])\n"
    "       bitmar info [--model DIR]\n"
    "       bitmar --version\n"
    "\n"
    "  A PHOTO is a file, a folder (its JPEG and PNG files, and those of its folders) or - (standard input). What is\n"
    "  wrong with one photo does not keep the next from its turn; the exit status is then 1.\n"
    "\n"
    "  --model DIR        the model's directory (otherwise models/default, near here or near the program)\n"
    "  --prompt TEXT      what the caption should be about\n"
    "  --json             one JSON object a photo instead of the caption or answer; errors too, on standard output\n"
    "  --jsonl            the same, one a line, each with its photo's path\n"
    "  --list FILE        more photos, one path a line; of ask: a photo, a tab and a question a line; - is stdin\n"
    "  --text TEXT        a text to embed or to score, as it stands: \" dog\" goes on with a word; --texts FILE: one a "
    "line\n"
    "  --prefix TEXT      the text before the texts to score, or the text that complete continues\n"
    "  --max-tokens N     at most this many tokens (24; of answers the model's own)\n"
    "  --beams N          beam search (1: greedy), with --length-penalty P (more: longer captions)\n"
    "  --int8-kv          keep the decoder's keys and values as int8: less memory, a little less exact\n"
    "  --threads N        share the work on a photo among N threads (1)\n"
    "  --temperature T    sample instead, with --top-p P (1) and --seed N (0)\n";

enum class Output { text, json, jsonl };

struct Arguments {
  enum class Command { caption, ask, embed, score, complete, info, version, help };
  Command command = Command::help;
  std::vector<std::string> photos;     // paths as they were given: as std::filesystem's they take 50 times the memory
  std::vector<std::string> questions;  // of ask, one a photo
  std::vector<std::string> texts;      // of embed and score
  std::optional<std::string> prefix;   // of score and complete
  std::optional<std::filesystem::path> model;
  std::vector<std::string> of_own_models;  // options as they were given that do nothing with a converted checkpoint
  Output output = Output::text;
  LoadOptions load;
  CaptionOptions options;
  AskOptions ask;
};

// Throws UsageError, and missing_file for a list that is not there.
Arguments parse_arguments(const std::vector<std::string>& given);

// models/default in the working directory or above it, else in a folder above the program's. In each folder
// also share/bitmar/models/default, which is where an installed program has its model.
// Throws missing_file.
std::filesystem::path find_model(const std::filesystem::path& program);

}  // namespace bitmar::cli
