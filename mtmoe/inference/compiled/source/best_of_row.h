// The largest numbers of a row, kept in order as they are met.

#pragma once

namespace mtmoe {

// At most `wanted` numbers and their places, the largest first; of equal ones the first.
template <typename Place>
class BestOfRow {
 public:
  BestOfRow(int wanted, float* values, Place* places) : wanted_(wanted), values_(values), places_(places) {}

  bool lets_in(float value) const { return number_ < wanted_ || value > values_[wanted_ - 1]; }

  void add(float value, int at) {
    if (!lets_in(value)) return;
    int place = number_ < wanted_ ? number_++ : wanted_ - 1;
    while (place && value > values_[place - 1]) {
      values_[place] = values_[place - 1];
      places_[place] = places_[place - 1];
      --place;
    }
    values_[place] = value;
    places_[place] = (Place)at;
  }

 private:
  int wanted_, number_ = 0;
  float* values_;
  Place* places_;
};

}  // namespace mtmoe
