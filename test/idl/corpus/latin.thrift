namespace py corpus.latin
// café
struct Caf { 1: string name = "caf" }
