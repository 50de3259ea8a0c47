#include "cli/arguments.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <sstream>
#include <utility>

#include "cli/photos.h"
#include "io/error.h"

namespace bitmar::cli {

namespace {

template <class T>
T number(const std::string& option, const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range && stop == end)
    throw UsageError(option + " is out of range: \"" + text + "\"");
  if (error != std::errc() || stop != end) throw UsageError(option + " wants a number, not \"" + text + "\"");
  return value;
}

void for_each_line(const std::filesystem::path& list, const std::function<void(const std::string&)>& f) {
  constexpr std::size_t kMaxList = 16 << 20, kMaxLines = 1 << 18;
  const std::vector<std::uint8_t> bytes = read_input(list, kMaxList);
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (++count > kMaxLines) throw UsageError(list.string() + " has more than " + std::to_string(kMaxLines) + " lines");
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) f(line);
  }
}

void add_lines(const std::filesystem::path& list, std::vector<std::string>& entries) {
  for_each_line(list, [&](const std::string& line) { entries.push_back(line); });
}

// PHOTO<tab>QUESTION
void add_questions(const std::filesystem::path& list, Arguments& a) {
  for_each_line(list, [&](const std::string& line) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string::npos) throw UsageError("a line of " + list.string() + " has no tab: \"" + line + "\"");
    a.photos.push_back(line.substr(0, tab));
    a.questions.push_back(line.substr(tab + 1));
  });
}

// Every photo of a folder in the folder's place, with the same question.
void expand_folders(Arguments& a) {
  const std::vector<std::string> named = std::exchange(a.photos, {});
  const std::vector<std::string> questions = std::exchange(a.questions, {});
  for (std::size_t i = 0; i < named.size(); ++i) {
    for (const std::string& photo : photos_of(named[i])) {
      a.photos.push_back(photo);
      if (!questions.empty()) a.questions.push_back(questions[i]);
    }
  }
}

// A negative number is none.
bool looks_like_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '.' && !(word[1] >= '0' && word[1] <= '9');
}

// A converted checkpoint takes the likeliest token of one whole text on one thread, and nothing of it is kept.
bool is_of_own_models(const std::string& word) {
  constexpr std::array kWords = {"--prompt",         "--int8-kv",     "--threads", "--beams",
                                 "--length-penalty", "--temperature", "--top-p",   "--seed"};
  return std::ranges::find(kWords, word) != kWords.end();
}

}  // namespace

Arguments parse_arguments(const std::vector<std::string>& given) {
  Arguments a;
  if (given.empty()) throw UsageError("what shall be done?");
  const std::string& command = given[0];
  if (command == "--help" || command == "-h" || command == "help") return a;
  if (command == "--version" || command == "version") {
    a.command = Arguments::Command::version;
    return a;
  }
  if (command == "caption") {
    a.command = Arguments::Command::caption;
  } else if (command == "ask") {
    a.command = Arguments::Command::ask;
  } else if (command == "embed") {
    a.command = Arguments::Command::embed;
  } else if (command == "score") {
    a.command = Arguments::Command::score;
  } else if (command == "complete") {
    a.command = Arguments::Command::complete;
  } else if (command == "info") {
    a.command = Arguments::Command::info;
  } else {
    throw UsageError("there is no command \"" + command + "\"");
  }
  const bool ask = a.command == Arguments::Command::ask;
  std::vector<std::string> plain;  // words that are no options
  bool only_plain = false;         // behind --
  for (std::size_t i = 1; i < given.size(); ++i) {
    if (only_plain || !given[i].starts_with("-") || given[i] == "-") {
      plain.push_back(given[i]);
      continue;
    }
    if (given[i] == "--") {
      only_plain = true;
      continue;
    }
    // --name VALUE or --name=VALUE
    const std::size_t equals = given[i].starts_with("--") ? given[i].find('=') : std::string::npos;
    const std::string word = given[i].substr(0, equals);
    if (is_of_own_models(word)) a.of_own_models.push_back(word);
    bool value_taken = false;
    const auto value = [&] {
      value_taken = true;
      if (equals != std::string::npos) return given[i].substr(equals + 1);
      if (i + 1 == given.size()) throw UsageError(word + " wants a value");
      const std::string& next = given[i + 1];
      if (looks_like_option(next))
        throw UsageError(word + " wants a value; one that begins with - is given as " + word + "=" + next);
      ++i;
      return next;
    };
    if (word == "--help" || word == "-h") {
      a.command = Arguments::Command::help;
      return a;
    } else if (word == "--model") {
      a.model = value();
    } else if (word == "--prompt") {
      a.options.prompt = value();
    } else if (word == "--json") {
      a.output = Output::json;
    } else if (word == "--jsonl") {
      a.output = Output::jsonl;
    } else if (word == "--int8-kv") {
      a.load.int8_kv_cache = true;
    } else if (word == "--threads") {
      a.load.threads = number<int>(word, value());
    } else if (word == "--list") {
      ask ? add_questions(value(), a) : add_lines(value(), a.photos);
    } else if (word == "--text") {
      a.texts.push_back(value());
    } else if (word == "--texts") {
      add_lines(value(), a.texts);
    } else if (word == "--prefix") {
      a.prefix = value();
    } else if (word == "--max-tokens") {
      a.ask.max_tokens = a.options.max_tokens = number<int>(word, value());
    } else if (word == "--beams") {
      a.ask.num_beams = a.options.num_beams = number<int>(word, value());
    } else if (word == "--length-penalty") {
      a.options.length_penalty = number<double>(word, value());
    } else if (word == "--temperature") {
      a.options.temperature = number<float>(word, value());
    } else if (word == "--top-p") {
      a.options.top_p = number<float>(word, value());
    } else if (word == "--seed") {
      a.options.seed = number<std::uint64_t>(word, value());
    } else {
      throw UsageError("there is no option " + word);
    }
    if (equals != std::string::npos && !value_taken) throw UsageError(word + " takes no value");
  }
  if (ask && !plain.empty()) {
    if (plain.size() != 2) throw UsageError("ask takes a photo and a question");
    a.questions.push_back(plain.back());
    plain.pop_back();
  }
  a.photos.insert(a.photos.end(), plain.begin(), plain.end());
  if (ask && a.photos.empty()) throw UsageError("which photo, and what about it?");
  if (a.command == Arguments::Command::caption && a.photos.empty()) throw UsageError("which photo?");
  if (a.command == Arguments::Command::embed && a.photos.empty() && a.texts.empty())
    throw UsageError("which photo or text?");
  const bool score = a.command == Arguments::Command::score, complete = a.command == Arguments::Command::complete;
  if (score && a.texts.empty()) throw UsageError("which text?");
  if (!score && !complete && a.prefix) throw UsageError("only score and complete take a prefix");
  if (!score && a.command != Arguments::Command::embed && !a.texts.empty())
    throw UsageError("only embed and score take a text");
  if (a.command == Arguments::Command::info && !a.photos.empty()) throw UsageError("info takes no photo");
  expand_folders(a);
  if (score && a.photos.size() > 1) throw UsageError("score takes one photo or vector");
  if (complete && a.photos.size() > 1) throw UsageError("complete takes one photo or vector");
  return a;
}

std::filesystem::path find_model(const std::filesystem::path& program) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path executable = fs::read_symlink("/proc/self/exe", ignored);
  for (fs::path start : {fs::current_path(ignored), fs::absolute(executable.empty() ? program : executable, ignored)}) {
    for (;; start = start.parent_path()) {
      for (const fs::path& models : {start / "models", start / "share" / "bitmar" / "models"}) {
        if (fs::is_regular_file(models / "default" / "config.json", ignored)) return models / "default";
      }
      if (start == start.parent_path()) break;
    }
  }
  throw Error(ErrorCode::missing_file, "there is no models/default here or near the program: use --model DIR");
}

}  // namespace bitmar::cli
