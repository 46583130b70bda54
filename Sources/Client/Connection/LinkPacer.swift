import NIOCore
import NIOPosix
import Platform
import Synchronization

/// Keeps the queue on the way to a server short while something is uploaded: asks the kernel how the connections do, and tells
/// it how fast to send (`PacingRule`). The kernel spaces the packets; nothing is awaited here.
///
/// A connection on which nothing arrives is given up after a while, so that a network that comes back is found.
final class LinkPacer: Sendable {
    private struct State {
        var rule = PacingRule()
        var connections: [ObjectIdentifier: Connection] = [:]
        /// Requests that upload now.
        var uploads = 0
        var ticks: RepeatedTask?
    }

    private struct Connection {
        var channel: any Channel
        /// Bytes that had arrived at the looks of the last second.
        var arrived: [(time: Int64, bytes: UInt64)] = []
        var isSending = false
        var told: UInt64 = .max
    }

    /// The kernel's `struct tcp_info`, as far as it is looked at; older kernels fill in less, and the rest stays nought.
    private struct Information {
        var words: InlineArray<32, UInt64>

        func number32(_ offset: Int) -> UInt32 {
            UInt32(truncatingIfNeeded: words[offset / 8] >> UInt64(offset % 8 * 8))
        }
        var segment: UInt32 { number32(16) }
        var unacknowledged: UInt32 { number32(24) }
        var roundTrip: UInt32 { number32(68) }
        var arrived: UInt64 { words[15] }
        var notSent: UInt32 { number32(144) }
        var shortest: UInt32 { number32(148) }
        var delivered: UInt64 { words[20] }
    }

    private enum Option {
        static let tcp = SocketOptionLevel(6)
        static let socket = SocketOptionLevel(1)
        static let information = SocketOptionName(11)
        static let userTimeout = SocketOptionName(18)
        static let maximumRate = SocketOptionName(47)
    }

    /// How long what was sent may stay unanswered before a connection counts as broken, in milliseconds. A server that is too busy to
    /// read counts too: longer than it takes to be told so, and shorter than the other limits of time.
    private static let patience: CInt = 60_000
    private static let interval = TimeAmount.milliseconds(100)
    private let state = Mutex(State())

    /// A connection was made.
    func add(_ channel: any Channel) -> EventLoopFuture<Void> {
        let id = ObjectIdentifier(channel)
        state.withLock { $0.connections[id] = Connection(channel: channel) }
        channel.closeFuture.whenComplete { [weak self] _ in self?.state.withLock { $0.connections[id] = nil } }
        guard let socket = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeSucceededVoidFuture()
        }
        tell()
        return socket.unsafeSetSocketOption(
            level: Option.tcp, name: Option.userTimeout, value: LinkPacer.patience
        ).flatMapError { _ in channel.eventLoop.makeSucceededVoidFuture() }
    }

    /// Runs an upload while the connections are looked after.
    func during<R>(_ body: () throws -> R) rethrows -> R {
        state.withLock { state in
            state.uploads += 1
            guard state.ticks == nil else { return }
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            state.ticks = loop.scheduleRepeatedTask(initialDelay: LinkPacer.interval, delay: LinkPacer.interval) {
                [weak self] task in
                guard let self else { return task.cancel() }
                self.look()
            }
        }
        defer {
            state.withLock { state in
                state.uploads -= 1
                if state.uploads == 0 {
                    state.ticks?.cancel()
                    state.ticks = nil
                }
            }
        }
        return try body()
    }

    /// Bytes a second that all connections together may send; `nil` is no limit.
    var rate: Int64? { state.withLock { $0.rule.rate } }

    /// Connections that are looked after.
    var connections: Int { state.withLock { $0.connections.count } }

    private func look() {
        let channels = state.withLock { state in state.connections.values.map(\.channel) }
        for channel in channels {
            guard let socket = channel as? any SocketOptionProvider else { continue }
            let answer: EventLoopFuture<Information> = socket.unsafeGetSocketOption(
                level: Option.tcp, name: Option.information)
            answer.whenSuccess { [weak self] in self?.take($0, ObjectIdentifier(channel)) }
        }
    }

    private func take(_ information: Information, _ id: ObjectIdentifier) {
        state.withLock { state in
            guard var connection = state.connections[id] else { return }
            let now = SystemClock.monotonic
            let hasArrived = information.arrived != connection.arrived.last?.bytes
            connection.arrived.removeAll { now - $0.time > 1_100_000_000 }
            connection.arrived.append((now, information.arrived))
            connection.isSending = information.unacknowledged > 0 || information.notSent > 0
            state.connections[id] = connection
            // Times of before a pause say nothing of now.
            guard hasArrived, connection.isSending else { return }
            let shared = Int64(max(state.connections.values.count { $0.isSending }, 1))
            // The kernel's figure is of a moment, and of that alone where packets are lost.
            let delivered = max(Int64(clamping: information.delivered), LinkPacer.rate(of: connection.arrived))
            state.rule.take(
                PacingRule.Sample(
                    roundTrip: Int64(information.roundTrip), shortest: Int64(information.shortest),
                    delivered: delivered.multipliedReportingOverflow(by: shared).partialValue,
                    segment: Int64(information.segment), isHeldBack: information.notSent > 0),
                now: now)
        }
        tell()
    }

    /// Bytes a second that arrived between the first and the last look.
    private static func rate(of looks: [(time: Int64, bytes: UInt64)]) -> Int64 {
        guard let first = looks.first, let last = looks.last, last.time - first.time > 300_000_000 else { return 0 }
        return Int64(Double(last.bytes &- first.bytes) / Double(last.time - first.time) * 1e9)
    }

    /// Tells the kernel how fast each connection may send.
    private func tell() {
        let orders = state.withLock { state -> [(any Channel, UInt64)] in
            let sending = UInt64(max(state.connections.values.count { $0.isSending }, 1))
            let each = state.rule.rate.map { max(UInt64($0) / sending, 1_000) } ?? .max
            var orders: [(any Channel, UInt64)] = []
            for (id, connection) in state.connections where connection.told != each {
                state.connections[id]?.told = each
                orders.append((connection.channel, each))
            }
            return orders
        }
        for (channel, rate) in orders {
            guard let socket = channel as? any SocketOptionProvider else { continue }
            let done: EventLoopFuture<Void> = socket.unsafeSetSocketOption(
                level: Option.socket, name: Option.maximumRate, value: rate)
            done.whenFailure { _ in }
        }
    }
}
