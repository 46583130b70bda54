import Hummingbird
import Model
import NIOCore
import NIOPosix
import Platform

/// A body that is made while it is sent: by a thread of its own, at most a few pieces ahead of who reads.
enum StreamedBody {
    private static let piece = 256 << 10
    private static let ahead = 4

    static func make(
        _ stream: ServerAnswer.Stream, pool: NIOThreadPool, channel: any Channel, slowest: Int
    ) -> ResponseBody {
        ResponseBody(contentLength: stream.length.map { Int(clamping: $0) }) { writer in
            let queue = Pieces()
            _ = try WorkerThread(name: "stream", stack: 16 << 20) { queue.fill(stream) }
            // It ends by itself at its next piece.
            defer { queue.giveUp() }
            while let bytes = try await pool.runIfActive({ try queue.next() }) {
                // Who asks and does not listen is hung up on.
                let deadline = channel.eventLoop.scheduleTask(in: .seconds(60 + Int64(bytes.count / max(slowest, 1)))) {
                    channel.close(promise: nil)
                }
                defer { deadline.cancel() }
                try await writer.write(ByteBuffer(bytes: bytes))
            }
            try await writer.finish(nil)
        }
    }

    private final class Pieces: Sendable {
        private let queue = BoundedQueue<[UInt8]>(capacity: StreamedBody.ahead)

        func fill(_ stream: ServerAnswer.Stream) {
            var piece: [UInt8] = []
            piece.reserveCapacity(StreamedBody.piece)
            do {
                try stream.body { [queue] bytes in
                    var rest = bytes
                    while !rest.isEmpty {
                        let count = min(StreamedBody.piece - piece.count, rest.count)
                        piece.append(contentsOf: rest[..<count])
                        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                        guard piece.count == StreamedBody.piece else { continue }
                        try queue.push(piece)
                        piece = []
                        piece.reserveCapacity(StreamedBody.piece)
                    }
                }
                if !piece.isEmpty { try queue.push(piece) }
                queue.close()
            } catch { queue.fail(error) }
        }

        func next() throws -> [UInt8]? { try queue.pop() }
        func giveUp() { queue.fail(QueueClosed()) }
    }
}
