#include "repetition.h"

#include <algorithm>

namespace mtmoe {

namespace {

constexpr int MOST_SYMBOLS = 50, FEW_LETTERS = 4, MANY_LETTERS = 8, MOST_DIFFERENT = 10;
constexpr int SYMBOLS_OF_CHAIN = 3 * MOST_DIFFERENT;

using Ids = std::vector<int32_t>;

long count_of(const Ids& ids, int32_t id) { return std::count(ids.begin(), ids.end(), id); }

// Whether the last `length` of the ids repeat themselves after `period` ids.
bool ends_in_period(const Ids& ids, int period, int length) {
  const int size = (int)ids.size(), begin = size - length;
  return begin >= 0 && std::equal(ids.begin() + begin + period, ids.end(), ids.begin() + begin);
}

// At most one subword has been there before: no chain.
bool may_have_chain(const Ids& ids) {
  int num_again = 0;
  for (size_t i = 1; i < ids.size() && num_again < 2; ++i)
    num_again += std::find(ids.begin(), ids.begin() + i, ids[i]) != ids.begin() + i;
  return num_again > 1;
}

// The words after which a text would end in a chain; `word(n)` is the n-th from its end, -1 where there is none.
template <typename F>
Ids following_that_chains(F word) {
  Ids found, different;
  for (int number = 1;; ++number) {
    const int32_t one = word(number);
    if (one < 0) break;
    if (std::find(different.begin(), different.end(), one) == different.end()) different.push_back(one);
    const int num_different = (int)different.size();
    if (num_different > MOST_DIFFERENT) break;
    if (number + 1 == std::max(RepetitionLimits().short_word + 1, 3 * num_different)) found = different;
    if (number + 1 >= SYMBOLS_OF_CHAIN) break;
  }
  return found;
}

bool has_chain(const Ids& words) {
  for (int end = 3; end < (int)words.size(); ++end) {
    const int last = std::max(-1, end - SYMBOLS_OF_CHAIN);
    const Ids found = following_that_chains([&](int number) { return end - number > last ? words[end - number] : -1; });
    if (std::find(found.begin(), found.end(), words[end]) != found.end()) return true;
  }
  return false;
}

}  // namespace

int RepetitionLimits::times(int num_letters, int num_words, int num_symbols) const {
  if (num_letters < FEW_LETTERS && num_words == 1) return short_word;
  const int times = num_letters < MANY_LETTERS ? some : many;
  return num_symbols == 1 ? std::max(times, single) : times;
}

const RepetitionLimits& Repetition::limits() {
  if (limits_) return *limits_;
  const int size = (int)source_.size();
  std::vector<int> letters(size + 1, 0);
  Ids lettered;
  for (int i = 0; i < size; ++i) {
    letters[i + 1] = letters[i] + letters_.letters_of[source_[i]];
    if (letters_.letters_of[source_[i]]) lettered.push_back(source_[i]);
  }
  int of_short = 1, some = 1;
  for (int period = 1; period < std::min(size, MOST_SYMBOLS + 1); ++period) {
    int length = 0;
    for (int end = period + 1; end <= size; ++end) {
      length = source_[end - 1] == source_[end - 1 - period] ? length + 1 : 0;
      const int repeated = letters[end] - letters[end - length];
      if (!repeated || 4 * repeated < 3 * (letters[end] - letters[end - period])) continue;
      const int times = (length + period + period - 1) / period;
      of_short = std::max(of_short, times);
      if (repeated >= FEW_LETTERS) some = std::max(some, times);
    }
  }
  const RepetitionLimits usual;
  limits_ = {std::max(usual.short_word, of_short), std::max(usual.some, some), std::max(usual.many, some),
             usual.single, of_short > 2 || has_chain(lettered)};
  return *limits_;
}

bool Repetition::may_loop(const Ids& ids) const {
  if (ids.empty()) return false;
  const int32_t last = ids.back();
  return letters_.most_in_row[last] == 1 || count_of(ids, last) > 1 ||
         (!letters_.words_of[last] && may_have_chain(ids));
}

// The lengths of phrases that may be at the end once more.
void Repetition::find_periods(const Ids& ids) {
  periods_.clear();
  const int size = (int)ids.size(), most = letters_.most_in_row[ids.back()];
  const int32_t last = ids.back();
  if (most && most <= size && std::count(ids.end() - most, ids.end(), last) == most) periods_.push_back(1);
  for (int period = std::min(size - 1, MOST_SYMBOLS); period > 1; --period) {
    if (ids[size - 1 - period] != last) continue;
    if (period == 2 || (size - 2 - period >= 0 && ids[size - 2] == ids[size - 2 - period])) periods_.push_back(period);
  }
}

void Repetition::find_following(const Ids& ids, const RepetitionLimits& limits) {
  found_.clear();
  for (const int period : periods_) {
    if (!ends_in_period(ids, period, 2 * period - 1)) continue;
    const auto phrase = ids.end() - period;
    int num_letters = 0, num_words = 0;
    int32_t before = ids.back();
    for (auto id = phrase; id != ids.end(); ++id) {
      num_letters += letters_.letters_of[*id];
      num_words += letters_.words_of[*id] - (letters_.ends_within[before] && letters_.begins_within[*id]);
      before = *id;
    }
    const int times = limits.times(num_letters, std::max(1, num_words), period);
    if (num_letters && ends_in_period(ids, period, (times + 1) * period - 1)) found_.push_back(*phrase);
  }
}

void Repetition::add_looping_words(const Ids& ids, std::vector<int64_t>& words) {
  if (!may_loop(ids)) return;
  find_periods(ids);
  find_following(ids, RepetitionLimits());
  if (!found_.empty()) find_following(ids, limits());
  words.insert(words.end(), found_.begin(), found_.end());
  if (!may_have_chain(ids)) return;
  Ids backwards;  // those that are words, as many as a chain has
  for (auto id = ids.rbegin(); id != ids.rend() && (int)backwards.size() < SYMBOLS_OF_CHAIN; ++id)
    if (letters_.words_of[*id]) backwards.push_back(*id);
  if (backwards.empty() || count_of(ids, backwards[0]) < 2) return;
  const Ids chained = following_that_chains(
      [&](int number) { return number <= (int)backwards.size() ? backwards[number - 1] : -1; });
  if (!chained.empty() && !limits().may_chain) words.insert(words.end(), chained.begin(), chained.end());
}

}  // namespace mtmoe
