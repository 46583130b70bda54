import Model

/// A server, by its identity key: what is left of a server when its address and its certificate change.
package struct ServerID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}
