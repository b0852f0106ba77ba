#include "search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "next_words.h"
#include "scratch.h"

namespace mtmoe {

namespace {
constexpr double NEVER = -std::numeric_limits<double>::infinity();
constexpr int EXACT = 1, BEST = 2;  // early stopping
constexpr float COVERAGE_FLOOR = 1e-6f;  // as in gnmt_score.py
}  // namespace

double coverage_penalty(const float* coverage, int num_positions, double beta) {
  double sum = 0;
  for (int i = 0; i < num_positions; ++i) sum += std::log((double)std::min(std::max(coverage[i], COVERAGE_FLOOR), 1.0f));
  return beta * sum;
}

Search::Search(const Model& model, const SearchOptions& options, const int64_t* never, int num_never,
               const Letters& letters)
    : model_(model), options_(options), never_(never, never + num_never), letters_(letters) {}

void Search::set_penalties(const double* of_number, const double* of_array, int number) {
  penalty_of_number_.assign(of_number, of_number + number);
  penalty_of_array_.assign(of_array, of_array + number);
}

void Search::add(int64_t key, const int64_t* ids, int length, int max_length, bool limits_loops, bool tells_attention) {
  auto source = std::make_unique<Source>();
  source->key = key;
  source->max_length = max_length;
  source->num_positions = length;
  source->tells_attention = tells_attention;
  source->keeps_attention = tells_attention || options_.coverage_beta != 0;
  source->ids.assign(ids, ids + length);
  source->best = source->to_beat = NEVER;
  if (limits_loops)
    source->repetition = std::make_unique<Repetition>(letters_, std::vector<int32_t>(ids, ids + length - 1));
  newcomers_.push_back(source.get());
  sources_[key] = std::move(source);
}

void Search::drop(int64_t key) {
  const auto place = sources_.find(key);
  if (place == sources_.end()) return;
  Source* source = place->second.get();
  newcomers_.erase(std::remove(newcomers_.begin(), newcomers_.end(), source), newcomers_.end());
  active_.erase(std::remove_if(active_.begin(), active_.end(), [=](const Active& a) { return a.source == source; }),
                active_.end());
  sources_.erase(place);
}

void Search::encode_newcomers() {
  if (newcomers_.empty()) return;
  std::vector<int64_t> ids;
  std::vector<int32_t> lengths;
  for (const Source* source : newcomers_) {
    ids.insert(ids.end(), source->ids.begin(), source->ids.end());
    lengths.push_back(source->num_positions);
  }
  const long num_tokens = (long)ids.size(), width = model_.shape().width, size = model_.shape().attention_width;
  const std::shared_ptr<float[]> memory(new float[num_tokens * (width + size)]);
  float *values = memory.get(), *keys = values + num_tokens * width;
  model_.encode(ids.data(), lengths.data(), (int)lengths.size(), values, keys);
  const long state_size = model_.state_size(), num_states = (long)state_.size() / state_size;
  state_.resize((num_states + newcomers_.size()) * state_size, 0.0f);
  long at = 0, parent = num_states;
  for (Source* source : newcomers_) {
    source->memory = memory;
    source->values = values + at * width;
    source->keys = keys + at * size;
    at += source->num_positions;
    active_.push_back({source, parent++, -1, 0, options_.begin_of_sentence, 0.0});
  }
  newcomers_.clear();
}

std::vector<int32_t> Search::words_behind(const Source& source, int node) const {
  std::vector<int32_t> words;
  for (; node >= 0; node = source.nodes[node].parent) words.push_back(source.nodes[node].word);
  std::reverse(words.begin(), words.end());
  return words;
}

double Search::penalty_of_coverage(const Source& source, int node, long attention) const {
  if (options_.coverage_beta == 0) return 0;
  std::vector<long> places{attention};  // the last first
  for (; node >= 0; node = source.nodes[node].parent) places.push_back(source.nodes[node].attention);
  std::vector<float> coverage(source.num_positions, 0.0f);
  for (auto place = places.rbegin(); place != places.rend(); ++place)
    for (int i = 0; i < source.num_positions; ++i) coverage[i] += source.attention[*place + i];
  return coverage_penalty(coverage.data(), source.num_positions, options_.coverage_beta);
}

void Search::find_banned(int rows) {
  banned_.clear();
  ban_begins_.assign(1, 0);
  for (int row = 0; row < rows; ++row) {
    const Active& active = active_[row];
    if (active.source->repetition && active.length < active.source->max_length)
      active.source->repetition->add_looping_words(words_behind(*active.source, active.node), banned_);
    ban_begins_.push_back((int64_t)banned_.size());
  }
}

bool Search::step() {
  encode_newcomers();
  const int rows = (int)active_.size();
  if (!rows) return true;
  int longest = 0;
  bool keeps_attention = false;
  Scratch scratch;
  int64_t* tokens = scratch.take<int64_t>(rows);
  Origin* origins = scratch.take<Origin>(rows);
  for (int row = 0; row < rows; ++row) {
    const Active& active = active_[row];
    const Source& source = *active.source;
    tokens[row] = active.word;
    origins[row] = {active.parent, source.values, source.keys, source.num_positions};
    longest = std::max(longest, source.num_positions);
    keeps_attention = keeps_attention || source.keeps_attention;
  }
  float* hidden = scratch.take<float>((long)rows * model_.shape().width);
  float* attention = keeps_attention ? scratch.take<float>((long)rows * longest) : nullptr;
  next_state_.resize((long)rows * model_.state_size());
  model_.step(rows, tokens, origins, state_.data(), next_state_.data(), hidden, attention, longest);
  state_.swap(next_state_);
  find_banned(rows);
  int64_t* words = scratch.take<int64_t>((long)rows * options_.num_words);
  double* log_probabilities = scratch.take<double>((long)rows * options_.num_words);
  double* of_end = scratch.take<double>(rows);
  const Asked asked = {options_.num_words, never_.data(), (int)never_.size(), banned_.data(), ban_begins_.data(), nullptr, 0,
                       options_.end_of_sentence};
  next_words(model_, rows, hidden, asked, words, log_probabilities, of_end, nullptr);
  next_.clear();
  is_number_ = true;
  for (int first = 0, end; first < rows; first = end) {
    end = first + 1;
    while (end < rows && active_[end].source == active_[first].source) ++end;
    Source& source = *active_[first].source;
    const size_t before = next_.size();
    extend(first, end, words, log_probabilities, of_end, attention, longest);
    if (next_.size() == before) leave(source);
  }
  active_.swap(next_);
  return is_number_;
}

// Finds what of a source's rows goes on, in `next_`, and what ends.
void Search::extend(int first, int end, const int64_t* words, const double* log_probabilities, const double* of_end,
                    const float* attention, long attention_size) {
  Source& source = *active_[first].source;
  cells_.clear();
  for (int row = first; row < end; ++row) {
    const Active& active = active_[row];
    const double* of_word = log_probabilities + (long)row * options_.num_words;
    double best = of_end[row];
    is_number_ = is_number_ && !std::isnan(of_end[row]);
    for (int i = 0; i < options_.num_words; ++i) {
      best = std::max(best, of_word[i]);
      is_number_ = is_number_ && !std::isnan(of_word[i]);
    }
    const double lowest = best - options_.prune_margin;
    const bool is_last = active.length >= source.max_length;
    const auto add = [&](int column, double log_probability) {
      const double score = active.log_probability + log_probability;
      if (score > NEVER) cells_.push_back({row, column, score});
    };
    if (is_last || of_end[row] >= lowest) add(0, of_end[row]);
    for (int i = 0; !is_last && i < options_.num_words; ++i)
      if (of_word[i] >= lowest) add(1 + i, of_word[i]);
  }
  std::stable_sort(cells_.begin(), cells_.end(), [](const Cell& a, const Cell& b) { return a.score > b.score; });
  std::vector<long> attention_of;  // of each row, in the source's own
  if (source.keeps_attention)
    for (int row = first; row < end; ++row) {
      attention_of.push_back((long)source.attention.size());
      const float* own = attention + row * attention_size;
      source.attention.insert(source.attention.end(), own, own + source.num_positions);
    }
  const auto attention_at = [&](int row) { return source.keeps_attention ? attention_of[row - first] : -1L; };

  int num_continuing = 0;  // moved to the front
  for (int place = 0; place < (int)cells_.size(); ++place) {
    const Cell cell = cells_[place];
    if (cell.column) {
      if (num_continuing < options_.width) cells_[num_continuing++] = cell;
      continue;
    }
    if (place >= options_.width) continue;
    const Active& active = active_[cell.row];
    const int num_tokens = active.length + 1;
    const double* of_word = log_probabilities + (long)cell.row * options_.num_words;
    const bool ends_by_itself =
        std::none_of(of_word, of_word + options_.num_words, [&](double value) { return value > of_end[cell.row]; });
    const double penalty = penalty_of_coverage(source, active.node, attention_at(cell.row));
    finish(source, {cell.score / penalty_of_number_[num_tokens] + penalty, cell.score, of_end[cell.row], num_tokens,
                    active.node, num_tokens > source.max_length && !ends_by_itself, attention_at(cell.row)});
  }
  if (!num_continuing) return;

  // Which of those that go on can still win, and are near the best.
  const double of_longest = penalty_of_array_[source.max_length + 1], most = cells_[0].score;
  const double of_now = penalty_of_array_[active_[first].length + 2];
  bool is_open = most / of_longest > source.to_beat;
  if (options_.early_stopping == BEST) is_open = is_open && most / of_now > source.best;
  if (!is_open) return;
  for (int place = 0; place < num_continuing; ++place) {
    const Cell& cell = cells_[place];
    if (!(cell.score / of_longest >= source.best - options_.prune_margin)) continue;
    if (!(cell.score >= most - options_.beam_margin)) continue;
    const Active& active = active_[cell.row];
    const long at = (long)cell.row * options_.num_words + cell.column - 1;
    source.nodes.push_back({active.node, (int32_t)words[at], log_probabilities[at], attention_at(cell.row)});
    next_.push_back({&source, cell.row, (int)source.nodes.size() - 1, active.length + 1, (int32_t)words[at], cell.score});
  }
}

void Search::finish(Source& source, const Finished& finished) {
  std::vector<Finished>& all = source.finished;
  const auto place = std::find_if(all.begin(), all.end(), [&](const Finished& f) { return f.score < finished.score; });
  all.insert(place, finished);
  while (all.back().score < all.front().score - options_.prune_margin) all.pop_back();
  source.best = all.front().score;
  const int number = (int)all.size(), num_wanted = std::min(options_.num_best, options_.width);
  if (number >= options_.width && options_.early_stopping != EXACT)
    source.to_beat = -NEVER;
  else if (number >= num_wanted)
    source.to_beat = all[num_wanted - 1].score;
}

void Search::leave(Source& source) {
  Done result{source.key, {}};
  for (const Finished& finished : source.finished) {
    if ((int)result.found.size() == options_.num_best) break;
    Found found{finished.score, finished.log_probability, finished.cut_off, words_behind(source, finished.node), {}, {}};
    std::vector<long> places{finished.attention};  // the last first
    found.log_probabilities.push_back(finished.of_end);
    for (int node = finished.node; node >= 0; node = source.nodes[node].parent) {
      found.log_probabilities.push_back(source.nodes[node].log_probability);
      places.push_back(source.nodes[node].attention);
    }
    std::reverse(found.log_probabilities.begin(), found.log_probabilities.end());
    if (source.tells_attention)
      for (auto place = places.rbegin(); place != places.rend(); ++place) {
        const float* own = source.attention.data() + *place;
        found.attention.insert(found.attention.end(), own, own + source.num_positions);
      }
    result.found.push_back(std::move(found));
  }
  done.push_back(std::move(result));
  sources_.erase(source.key);
}

}  // namespace mtmoe
