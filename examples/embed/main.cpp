// Captions a photo, remembers it, and finds it again by a text. usage: embed MODEL_FOLDER PHOTO TEXT
#include <bitmar/bitmar.h>

#include <iostream>
#include <map>

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::cerr << "usage: embed MODEL_FOLDER PHOTO TEXT\n";
    return 2;
  }
  bitmar::Model model = bitmar::Model::load(argv[1]);
  const bitmar::Image photo = bitmar::read_image(argv[2]);

  const bitmar::CaptionResult caption = model.caption(photo.view(), {.num_beams = 8});
  std::cout << caption.text << "\n";

  // The memory keeps no text: the caption is kept here, under the episode's id.
  bitmar::Memory memory = model.memory();
  std::map<std::uint64_t, std::string> captions;
  captions[memory.remember(photo.view(), caption.text).id] = caption.text;

  for (const bitmar::Recalled& found : memory.recall(argv[3], 3)) {
    std::cout << found.similarity << " " << captions[found.episode.id] << "\n";
  }
} catch (const bitmar::Error& error) {
  std::cerr << to_string(error.code()) << ": " << error.what() << "\n";
  return 1;
}
