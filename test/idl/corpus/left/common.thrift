// One of two files with one name.
namespace py corpus.left

enum Side { LEFT = 1 }

struct OnTheLeft { 1: Side side = Side.LEFT, 2: string note }

const i32 LEFT_LIMIT = 10
