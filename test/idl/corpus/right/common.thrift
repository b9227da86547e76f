namespace py corpus.right

enum Way { RIGHT = 2, STRAIGHT = 3 }

struct OnTheRight { 1: Way way = Way.STRAIGHT, 2: list<Way> ways }

service Parent {
  /** Answers the way. */
  Way way(1: Way from_where),
  void ping()
}
