import Client
import Model
import NIOCore
import NIOPosix
import NIOSSL
import Platform

/// A connection byte by byte, for clients that behave badly. Calls block.
final class RawConnection: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var isClosed = false
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state = Monitor(State())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            state.update { $0.bytes += Array(buffer.readableBytesView) }
        }

        func channelInactive(context: ChannelHandlerContext) { state.update { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private let channel: any Channel
    private let collector: Collector

    /// - Parameter encrypts: `false` says nothing of TLS.
    init(_ address: ServerAddress, encrypts: Bool) throws {
        let collector = Collector()
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        let context = try NIOSSLContext(configuration: configuration)
        channel = try ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                if encrypts {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: nil))
                }
                try channel.pipeline.syncOperations.addHandler(collector)
            }
        }.connect(host: address.host, port: address.port).wait()
        self.collector = collector
    }

    deinit { channel.close(promise: nil) }

    func write(_ text: String) throws {
        try channel.writeAndFlush(ByteBuffer(string: text)).wait()
    }

    /// What has come until `isEnough` says so, the other side hangs up or the time is over.
    func read(seconds: Int64, until isEnough: @Sendable (String) -> Bool) -> (text: String, isClosed: Bool) {
        _ = collector.state.waitUntil(
            { $0.isClosed || isEnough(String(decoding: $0.bytes, as: UTF8.self)) }, nanoseconds: seconds * 1_000_000_000
        )
        return collector.state.withLock { (String(decoding: $0.bytes, as: UTF8.self), $0.isClosed) }
    }

    /// Whether the other side hangs up in time.
    func isClosed(within seconds: Int64) -> Bool {
        collector.state.waitUntil({ $0.isClosed }, nanoseconds: seconds * 1_000_000_000)
    }
}

/// A proxy that tunnels what it is asked to, and counts.
final class TunnelProxy: Sendable {
    let port: Int
    private let channel: any Channel
    private let asked = Monitor<[String]>([])

    /// What clients asked for, line by line.
    var requests: [String] { asked.withLock { $0 } }

    init() throws {
        let asked = asked
        channel = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Front(asked: asked))
                }
            }.bind(host: "127.0.0.1", port: 0).wait()
        port = channel.localAddress?.port ?? 0
    }

    deinit { channel.close(promise: nil) }

    /// Reads the request, connects, then passes bytes on.
    private final class Front: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let asked: Monitor<[String]>
        private var head = ""
        private var waiting: [ByteBuffer] = []
        private var hasAsked = false
        private var peer: (any Channel)?

        init(asked: Monitor<[String]>) { self.asked = asked }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            if let peer { return peer.writeAndFlush(buffer, promise: nil) }
            if hasAsked { return waiting.append(buffer) }
            head += String(buffer: buffer)
            guard head.hasSuffix("\r\n\r\n"), let line = head.split(separator: "\r\n").first else { return }
            hasAsked = true
            asked.update { [line] in $0.append(String(line)) }
            let place = line.split(separator: " ")[1].split(separator: ":")
            let client = context.channel
            let loop = context.eventLoop
            let this = NIOLoopBound(self, eventLoop: loop)
            ClientBootstrap(group: loop).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Back(client: client))
                }
            }.connect(host: String(place[0]), port: Int(place[1]) ?? 0).hop(to: loop).whenComplete { result in
                guard case .success(let peer) = result else { return client.close(promise: nil) }
                client.writeAndFlush(ByteBuffer(string: "HTTP/1.1 200 OK\r\n\r\n"), promise: nil)
                for buffer in this.value.waiting { peer.writeAndFlush(buffer, promise: nil) }
                this.value.peer = peer
            }
        }

        func channelInactive(context: ChannelHandlerContext) { peer?.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private final class Back: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let client: any Channel
        init(client: any Channel) { self.client = client }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            client.writeAndFlush(unwrapInboundIn(data), promise: nil)
        }
        func channelInactive(context: ChannelHandlerContext) { client.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
