/** The state of an order. */
enum Status { OPEN = 1, SENT = 2 }

union Payment { 1: string card, 2: i64 voucher }

/** What somebody bought. */
struct Order {
  1: required i64 id,
  2: optional string item,
  3: Status status = Status.OPEN,
  4: Payment payment,
}

exception NotFound { 1: i64 id }

service Shop {
  string version()

  /** Takes an order, and returns its state. */
  Status place(1: Order order)

  Order find(1: i64 id) throws (1: NotFound missing)
}
