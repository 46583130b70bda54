import Hummingbird
import NIOCore
import NIOPosix
import ServiceLifecycle

/// A body that tells what happens until who listens goes, or the server ends.
enum EventBody {
    /// After so long without a word something is said, so that nobody on the way takes the connection for dead.
    private static let silence = Duration.seconds(15)

    static func make(
        _ events: ServerAnswer.Events, pool: NIOThreadPool, channel: any Channel,
        isEnding: @escaping @Sendable () -> Bool
    ) -> ResponseBody {
        ResponseBody { writer in
            defer { withExtendedLifetime(events.place) {} }
            var text = LiveEvent.hello
            var last = ContinuousClock.now
            while true {
                if !text.isEmpty {
                    // Who asks and does not listen is hung up on.
                    let deadline = channel.eventLoop.scheduleTask(in: .seconds(60)) { channel.close(promise: nil) }
                    defer { deadline.cancel() }
                    try await writer.write(ByteBuffer(string: text))
                    last = ContinuousClock.now
                }
                try await Task.sleep(for: .seconds(1))
                if isEnding() || Task.isCancelled || Task.isShuttingDownGracefully { break }
                guard let next = try await pool.runIfActive({ events.next() }) else { break }
                text = next.isEmpty && ContinuousClock.now - last > silence ? LiveEvent.heartbeat : next
            }
            try await writer.finish(nil)
        }
    }
}
