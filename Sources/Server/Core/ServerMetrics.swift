import Model
import Synchronization
import Vault

/// What the server counts, in Prometheus's text format.
final class ServerMetrics: Sendable {
    private struct Key: Hashable {
        var operation: String
        var status: Int
    }

    private struct Timing {
        var buckets = [UInt64](repeating: 0, count: ServerMetrics.bounds.count)
        var count: UInt64 = 0
        var sum: Double = 0
    }

    private struct State {
        var answers: [Key: UInt64] = [:]
        var timings: [String: Timing] = [:]
        var refusedSignIns: UInt64 = 0
        var overloads: UInt64 = 0
        var connections: @Sendable () -> Int = { 0 }
        var requests: @Sendable () -> Int = { 0 }
        var bytes: @Sendable () -> Int = { 0 }
    }

    /// Upper bounds of the buckets, in seconds.
    static let bounds: [Double] = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60]

    private let state = Mutex(State())

    func count(_ operation: Operation, status: Int, seconds: Double) {
        let name = "\(operation.method) \(operation.path)"
        state.withLock { state in
            state.answers[Key(operation: name, status: status), default: 0] += 1
            var timing = state.timings[name] ?? Timing()
            timing.count += 1
            timing.sum += seconds
            for (index, bound) in Self.bounds.enumerated() where seconds <= bound { timing.buckets[index] += 1 }
            state.timings[name] = timing
        }
    }

    func countRefusedSignIn() { state.withLock { $0.refusedSignIns += 1 } }
    func countOverload() { state.withLock { $0.overloads += 1 } }

    /// Where the numbers of now come from.
    func observe(
        connections: @escaping @Sendable () -> Int, requests: @escaping @Sendable () -> Int,
        bytes: @escaping @Sendable () -> Int
    ) {
        state.withLock {
            $0.connections = connections
            $0.requests = requests
            $0.bytes = bytes
        }
    }

    /// A number of the moment.
    struct Gauge {
        var name: String
        var help: String
        var values: [(labels: [(String, String)], value: Double)]

        init(_ name: String, _ help: String, _ value: Double) {
            self.init(name, help, values: [([], value)])
        }

        init(_ name: String, _ help: String, values: [(labels: [(String, String)], value: Double)]) {
            self.name = name
            self.help = help
            self.values = values
        }
    }

    /// Everything as text, with `gauges` beside what is counted here.
    func text(_ gauges: [Gauge]) -> String {
        let state = state.withLock { $0 }
        var text = ""
        func head(_ name: String, _ help: String, _ type: String) {
            text += "# HELP holdfast_\(name) \(help)\n# TYPE holdfast_\(name) \(type)\n"
        }
        func line(_ name: String, _ labels: [(String, String)], _ value: Double) {
            let inner = labels.map { "\($0.0)=\"\(Self.escape($0.1))\"" }.joined(separator: ",")
            text += "holdfast_\(name)\(inner.isEmpty ? "" : "{\(inner)}") \(Self.number(value))\n"
        }
        head("requests_total", "Requests that were answered.", "counter")
        for (key, count) in state.answers.sorted(by: {
            ($0.key.operation, $0.key.status) < ($1.key.operation, $1.key.status)
        }) {
            line("requests_total", [("operation", key.operation), ("status", "\(key.status)")], Double(count))
        }
        head("request_seconds", "Time from the headers to the answer.", "histogram")
        for (name, timing) in state.timings.sorted(by: { $0.key < $1.key }) {
            for (index, bound) in Self.bounds.enumerated() {
                line(
                    "request_seconds_bucket", [("operation", name), ("le", Self.number(bound))],
                    Double(timing.buckets[index]))
            }
            line("request_seconds_bucket", [("operation", name), ("le", "+Inf")], Double(timing.count))
            line("request_seconds_sum", [("operation", name)], timing.sum)
            line("request_seconds_count", [("operation", name)], Double(timing.count))
        }
        head("refused_sign_ins_total", "Signatures and tokens that did not hold.", "counter")
        line("refused_sign_ins_total", [], Double(state.refusedSignIns))
        head("overloads_total", "Requests that were told to come back later.", "counter")
        line("overloads_total", [], Double(state.overloads))
        let own = [
            Gauge("connections", "Open connections.", Double(state.connections())),
            Gauge("requests_in_progress", "Requests that run or wait for a thread.", Double(state.requests())),
            Gauge("body_bytes", "Bytes of bodies that are in memory.", Double(state.bytes())),
        ]
        for gauge in own + gauges {
            head(gauge.name, gauge.help, "gauge")
            for (labels, value) in gauge.values { line(gauge.name, labels, value) }
        }
        return text
    }

    private static func escape(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }
}
