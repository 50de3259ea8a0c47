// The episodic memory: pictures that were seen, found again by picture or by text, and names for what they show.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitmar/image.h"

namespace bitmar {

class Engine;

// What is known of an episode beside its key and value. Times are the caller's clock, in milliseconds.
struct Episode {
  static constexpr int kMaxLabel = 63;                               // bytes of UTF-8
  static constexpr std::uint64_t kMaxId = (std::uint64_t{1} << 52);  // far below what a JavaScript number holds exactly
  static constexpr double kMaxTime = 8.64e15;  // either side of 1970: where JavaScript's calendar ends

  std::uint64_t id = 0;  // from 1, never used again; 0: the slot is free
  double created_ms = 0, last_used_ms = 0;
  std::uint32_t uses = 0;
  float strength = 0;  // 1 when written, 1 more each time the same is met again
  std::uint8_t label_length = 0;
  char label_bytes[kMaxLabel + 1] = {};

  std::string_view label() const { return {label_bytes, label_length}; }
  void set_label(std::string_view label);  // throws text_too_long
};

// How a new episode changes what is there.
enum class WritePolicy {
  // Known (its similarity is the model's novelty_threshold or more): blended into the best match, which is
  // strengthened. Otherwise a free slot, or the weakest one's place.
  gated,
  // The paper's rule, M <- M + alpha w q^T with w the read weights: every slot moves towards the episode by its
  // share. Free slots are filled first, since w over empty slots would make them all alike.
  additive,
};

enum class WriteOutcome { blended, added, replaced };

struct Written {
  int slot = -1;
  std::uint64_t id = 0;  // of the episode that holds it now
  WriteOutcome outcome = WriteOutcome::added;
  float similarity = -1;          // to the best match before writing; -1 when there was none
  std::uint64_t replaced_id = 0;  // whose place it took; 0: nobody's
};

struct Recalled {
  Episode episode;
  float similarity = 0;  // cosine, -1 to 1
};

struct Recognised {
  std::string label;
  float score;  // 0.5 to 1
};

// What came of a saved memory.
struct LoadReport {
  int loaded = 0;          // episodes, as they came to be in the memory
  int dropped_slots = 0;   // damaged ones of the snapshot
  int dropped_frames = 0;  // damaged ones; when following, also those that build on what is not there
  int gaps = 0;            // how often something is missing that a frame builds on
  int left_out = 0;        // the weakest, where there are more than slots
  std::uint64_t sequence = 0;
};

// Milliseconds since 1970 by the system's clock: the usual `now_ms`.
double unix_time_ms();

// The memory of a Model: a fixed number of slots of one episode each. A handle: copies speak of the same memory, and it
// is valid as long as the Model that gave it, also where that is moved. As of the Model, one call at a time.
//
// An episode keeps neither picture nor text, only vectors made of them, times and a label. Keep what you want to show
// under the episode's id.
class Memory {
 public:
  int capacity() const;  // slots
  int size() const;      // episodes
  std::vector<Episode> list() const;
  std::optional<Episode> find(std::uint64_t id) const;  // nothing where it is gone
  // Another number of slots, 1 to 65,536, of a memory that holds nothing. Throws invalid_argument, out_of_memory.
  void resize(int slots);
  // WritePolicy::gated unless this says otherwise. It is not saved.
  void set_policy(WritePolicy policy);

  // ---- Writing. An image must be as for Model::caption() ----

  // Writes a picture that is said to show `text`, its caption for one; of a long text the beginning counts.
  Written remember(const ImageView& image, std::string_view text, double now_ms = unix_time_ms());
  // The same as one more example of `label`, 1 to 63 bytes of UTF-8. Throws invalid_argument, text_too_long and
  // invalid_text.
  Written teach(const ImageView& image, std::string_view label, double now_ms = unix_time_ms());
  // Another label for an episode; empty: none. Throws as teach() does, and invalid_argument where there is no such
  // episode.
  void label(std::uint64_t id, std::string_view label);
  // A recall that somebody made use of: it counts, and keeps the episode from being replaced. Throws invalid_argument
  // where there is no such episode.
  void touch(std::uint64_t id, double now_ms = unix_time_ms());
  bool forget(std::uint64_t id);  // its numbers are erased; false where there was no such episode
  void clear();                   // forgets all

  // ---- Searching ----

  // The `k` most similar episodes of at least `least`, best first. Exact: every episode is compared. By text the
  // limits are those of a prompt; `query` is a vector of Model::embed(). Throws invalid_argument for k < 0.
  std::vector<Recalled> recall(const ImageView& image, int k = 5, float least = -1);
  std::vector<Recalled> recall(std::string_view text, int k = 5, float least = -1);
  std::vector<Recalled> recall(std::span<const float> query, int k = 5, float least = -1);
  // The label that a picture shows, by the examples that were taught; nothing below a score of 0.5.
  std::optional<Recognised> recognise(const ImageView& image);
  std::optional<Recognised> recognise(std::span<const float> query) const;

  // ---- As bytes, to be kept where you like: the same on every platform, of one model ----

  std::vector<std::uint8_t> save() const;  // all of it: a snapshot
  std::uint64_t sequence() const;          // counts the changes
  // What changed after change number `since`, of which the size goes with the number of those episodes; empty when
  // nothing did. Appended to a journal, it need not be saved whole each time. Throws invalid_argument of a number that
  // is to come.
  std::vector<std::uint8_t> changes_since(std::uint64_t since) const;
  // The memory as it was: a snapshot, then the changes that followed it, in order. What is damaged is left out and
  // counted. A memory with fewer slots than were saved grows, unless `shrink`, which leaves the weakest episodes out.
  // Throws invalid_state and unsupported_state; then nothing has changed.
  LoadReport load(std::span<const std::uint8_t> snapshot, std::span<const std::span<const std::uint8_t>> changes = {},
                  bool shrink = false);

 private:
  friend class Model;
  explicit Memory(Engine& engine) : engine_(&engine) {}

  Engine* engine_;
};

}  // namespace bitmar
