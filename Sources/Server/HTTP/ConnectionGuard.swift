import HummingbirdCore
import HummingbirdHTTP2
import Logging
import NIOCore
import NIOSSL
import Synchronization

/// Connections of the server: HTTP/1.1 and HTTP/2 over TLS, with what the layers below leave open: who connects must speak
/// soon, one address has a bounded number of connections, and the certificate can change while the server runs.
struct GuardedChannel: ServerChildChannel {
    typealias Value = HTTP2UpgradeChannel.Value

    let current: CurrentChannel
    let counter: ConnectionCounter
    /// Milliseconds from the connection to the first bytes inside TLS.
    let patience: Int64

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        let address = ClientAddress.key(channel.remoteAddress)
        guard counter.enter(address) else {
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(TooManyConnections())
        }
        channel.closeFuture.whenComplete { [counter] _ in counter.leave(address) }
        let value = current.get().setup(channel: channel, logger: logger)
        do {
            let operations = channel.pipeline.syncOperations
            let tls = try operations.handler(type: NIOSSLServerHandler.self)
            try operations.addHandler(FirstBytesDeadline(milliseconds: patience), position: .after(tls))
        } catch {
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(error)
        }
        return value
    }

    /// Cancelling closes the connection instead of the reading from it: a stream that comes to an open connection nobody reads
    /// from would end the process.
    func handle(value: Value, logger: Logger) async {
        let channel = current.get()
        let task = Task { await channel.handle(value: value, logger: logger) }
        await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            value.channel.close(promise: nil)
        }
        value.channel.close(promise: nil)
    }

    struct TooManyConnections: Error {}
}

/// The channel with the certificate of now.
final class CurrentChannel: Sendable {
    private let channel: Mutex<HTTP2UpgradeChannel>

    init(_ channel: HTTP2UpgradeChannel) { self.channel = Mutex(channel) }

    func get() -> HTTP2UpgradeChannel { channel.withLock { $0 } }
    func set(_ new: HTTP2UpgradeChannel) { channel.withLock { $0 = new } }
}

/// Open connections by address.
final class ConnectionCounter: Sendable {
    private let counts = Mutex<[String: Int]>([:])
    let maximum: Int

    init(maximum: Int) { self.maximum = maximum }

    var total: Int { counts.withLock { $0.values.reduce(0, +) } }

    func enter(_ address: String) -> Bool {
        counts.withLock { counts in
            guard counts[address, default: 0] < maximum else { return false }
            counts[address, default: 0] += 1
            return true
        }
    }

    func leave(_ address: String) {
        counts.withLock { counts in
            guard let count = counts[address] else { return }
            counts[address] = count > 1 ? count - 1 : nil
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one customer has as a whole.
enum ClientAddress {
    static func key(_ address: SocketAddress?) -> String {
        guard let address, let text = address.ipAddress else { return "local" }
        guard case .v6 = address, !text.lowercased().hasPrefix("::ffff:") else {
            return text.lowercased().hasPrefix("::ffff:") ? String(text.dropFirst(7)) : text
        }
        guard let bytes = SelfMadeCertificate.address(text), bytes.count == 16 else { return text }
        return bytes[..<8].map { String($0, radix: 16) }.joined(separator: ":") + "/64"
    }
}

/// Closes a connection on which nothing has been said inside TLS for too long after it was opened. From then on the idle
/// time-out of the layers above counts.
private final class FirstBytesDeadline: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let milliseconds: Int64
    private var deadline: Scheduled<Void>?

    init(milliseconds: Int64) { self.milliseconds = milliseconds }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .milliseconds(milliseconds)) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        deadline?.cancel()
        deadline = nil
        context.fireChannelRead(data)
    }
}
