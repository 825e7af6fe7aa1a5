/*
 * Client of juspay-bff for Android apps with HyperSDK. One file without dependencies: copy it into your app.
 * docs/clients/android.md explains how to use it.
 *
 * - All functions except attach, onEvent, detach and invalidate block: call them on a background thread, such as
 *   withContext(Dispatchers.IO).
 * - Keeps the client auth token in memory only, and measures its life by a monotonic clock that counts sleep.
 *   The phone's wall clock may be wrong: it is used only to write authExpiry, which the SDK compares with
 *   that clock.
 * - Callers at the same time share one request.
 * - Retries an error only if the service says so, after the time that it says, within timeoutMs. Network
 *   failures are retried after short waits.
 * - Calls onLogout only if the service rejects the access token as invalid_token or expired_token, and the
 *   renewed one too. No other error is about the user's session.
 * - Does not make DPoP proofs.
 */
package juspaybff

import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.SocketTimeoutException
import java.net.URL
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import java.util.UUID
import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executors
import java.util.concurrent.FutureTask
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import org.json.JSONException
import org.json.JSONObject

/** The product: Express Checkout SDK (EC Headless), or UPI SDKs. It must equal the service's `sdk.profile`. */
enum class Profile { EC, UPI }

/** Only for [Profile.EC], whose `initiate` payload the client builds without a request. */
class EcApp(
    val merchantId: String,
    val clientId: String,
    val customerId: String,
    val environment: String,
    val service: String = "in.juspay.hyperapi",
)

/**
 * @property baseUrl address of the service, such as `https://api.example.com`, without `/me`.
 * @property accessToken returns the signed-in user's access token. With `renew`, the service rejected the last
 * one: get a new one from the identity provider. Runs on a background thread.
 * @property platform selects the client id, if the service has one for each platform.
 * @property onLogout called on a background thread when the user must sign in again.
 * @property onError called on a background thread when `attach` could not answer `session_expired`.
 * @property timeoutMs time limit of a call, retries included. Keep it above the service's own limit of 5 s.
 * @property transport for tests.
 * @property clock for tests.
 */
class Options(
    val baseUrl: String,
    val accessToken: (renew: Boolean) -> String,
    val profile: Profile,
    val platform: String? = null,
    val ec: EcApp? = null,
    val onLogout: () -> Unit = {},
    val onError: (TokenError) -> Unit = {},
    val timeoutMs: Long = 10_000,
    val transport: Transport = UrlConnectionTransport,
    val clock: Clock = PhoneClock,
)

/** A client auth token. */
class Token internal constructor(
    val clientAuthToken: String,
    /** `x-routing-id`, for an app that calls Juspay itself with the token. */
    val routingId: String,
    /** The tenant for the constructor of `HyperServices`. */
    val tenantId: String?,
    private val expiresAt: Long,
    internal val refreshAt: Long,
    /** Numbers requests by their start. */
    internal val order: Long,
    private val clock: Clock,
) {
    internal var uses = 1

    /** How long the token lives from now on. */
    fun remainingMs(): Long = expiresAt - clock.monotonic()

    /** The end of its life by the phone's wall clock, right or wrong: ISO 8601 with milliseconds. */
    fun authExpiry(): String {
        val format = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", Locale.US)
        format.timeZone = TimeZone.getTimeZone("UTC")
        return format.format(Date(clock.wall() + remainingMs()))
    }
}

/** What `attach` returns. */
interface Attachment {
    /** Pass each event of the SDK. True: the event is answered. Returns at once. */
    fun onEvent(event: JSONObject): Boolean

    fun detach()
}

class HttpRequest(val method: String, val url: String, val headers: Map<String, String>, val timeoutMs: Long)

class HttpReply(val status: Int, val retryAfter: String?, val text: String)

fun interface Transport {
    /** @throws IOException if there is no answer. */
    fun send(request: HttpRequest): HttpReply
}

/** Times in milliseconds. */
interface Clock {
    /** Never jumps, and is not comparable with dates. */
    fun monotonic(): Long

    /** The phone's date and time, which may be wrong. */
    fun wall(): Long

    fun sleep(ms: Long)
}

/**
 * Why there is no token.
 *
 * @property code a code of the service's documentation, or `network`, `timeout`, `unexpected_response` (not from
 * the service) or `access_token` (`accessToken` failed).
 * @property retryable whether the same call may succeed later.
 * @property retryAfter seconds to wait before that.
 * @property requestId for error reports: the operator finds the cause with it.
 */
class TokenError(
    val code: String,
    val status: Int,
    val retryable: Boolean,
    val retryAfter: Double? = null,
    val requestId: String? = null,
    cause: Throwable? = null,
) : Exception(if (requestId == null) code else "$code (request $requestId)", cause)

/** The source of one user's client auth tokens. Create it at sign-in, and call `invalidate` at sign-out. */
class TokenSource(private val options: Options) {
    private val clock = options.clock
    private val lock = Any()

    // All guarded by lock.
    private var token: Token? = null
    private val answers = HashMap<String, Answer>()
    private val flights = HashMap<String, Flight>()
    private var renewal: FutureTask<Loaded>? = null
    private var accessTokenRenewal: FutureTask<String>? = null

    /** The token that `refresh` was called about, until there is another. */
    private var ended: String? = null
    private var generation = 0
    private var requests = 0L

    /**
     * Returns a client auth token, from memory if possible. [minFresh]: seconds that it should live, for a step
     * that takes long. If no token lives that long, returns the best one.
     *
     * @throws TokenError
     */
    fun fetch(minFresh: Long = 0): Token = load(PROCESS, minFresh).token

    /**
     * Returns a new token, because the SDK rejected the last one. Never returns the last one again.
     *
     * @throws TokenError
     */
    fun refresh(): Token = renew().token

    /** Forgets the token: at sign-out. Calls in progress request their token again. */
    fun invalidate() = synchronized(lock) {
        generation += 1
        token = null
        ended = null
        answers.clear()
        flights.clear()
        renewal = null
        accessTokenRenewal = null
    }

    /**
     * Has the service fetch the token in advance, for example when the app starts. Never fails. Without a network,
     * it blocks for `timeoutMs`: call it on a thread that has nothing else to do.
     */
    fun prepare() {
        try {
            call(Call("POST", "/me/prepare", emptyMap(), 1)) { }
        } catch (_: TokenError) {
            // The next call reports the error.
        }
    }

    /**
     * The request for the SDK's `initiate`. Call that once: a second call is the SDK's error JP_017.
     *
     * @throws TokenError
     */
    fun initiate(): JSONObject {
        if (options.profile == Profile.UPI) return envelope(load(INITIATE, 0), JSONObject())
        val ec = requireNotNull(options.ec) { "the profile EC needs options.ec" }
        val payload = JSONObject()
            .put("action", INITIATE)
            .put("merchantId", ec.merchantId)
            .put("clientId", ec.clientId)
            .put("customerId", ec.customerId)
            .put("environment", ec.environment)
        return JSONObject().put("requestId", uuid()).put("service", ec.service).put("payload", payload)
    }

    /**
     * The request for the SDK's `process` that works on the customer: your own payload with `action`, such as
     * `cardList` (EC) or `management` (UPI), plus token and customer.
     *
     * @throws TokenError
     */
    fun process(own: JSONObject, minFresh: Long = 0): JSONObject {
        require(own.optString("action") !in ORDER_ACTIONS && !own.has(CLIENT_AUTH_TOKEN)) {
            "${own.optString("action")} takes the token of Create Order: build its payload yourself"
        }
        return envelope(load(PROCESS, minFresh), own)
    }

    /**
     * Answers the SDK's `session_expired` with a new token, without calling `initiate` again. [process] passes
     * a request to the SDK; it runs on a background thread.
     */
    fun attach(process: (JSONObject) -> Unit): Attachment = object : Attachment {
        @Volatile
        private var isAttached = true

        override fun onEvent(event: JSONObject): Boolean {
            if (!isAttached || event.optString("event") !in EXPIRY_EVENTS) return false
            if (options.profile == Profile.EC) {
                // This SDK knows no updateAuth: the next `process` has a new token.
                synchronized(lock) { ended = token?.clientAuthToken ?: "" }
                return false
            }
            val reqCode = event.optJSONObject("payload")?.opt("reqCode")
            threads.execute { answerExpiry(process, reqCode) { isAttached } }
            return true
        }

        override fun detach() {
            isAttached = false
        }
    }

    private fun answerExpiry(process: (JSONObject) -> Unit, reqCode: Any?, isAttached: () -> Boolean) {
        var round = 1
        while (isAttached()) {
            val envelope = try {
                envelope(renew(), JSONObject().putOpt("reqCode", reqCode))
            } catch (error: TokenError) {
                if (!error.retryable || round == MAX_ROUNDS) return options.onError(error)
                clock.sleep(waitMs(error, round))
                round += 1
                continue
            }
            if (isAttached()) process(envelope)
            return
        }
    }

    /** The token, with the answer for [action]: from memory, from a running request, or from a new one. */
    private fun load(action: String, minFresh: Long): Loaded {
        while (synchronized(lock) { ended } != null) renew()
        val held = synchronized(lock) {
            val (token, answer) = Pair(token, answers[action])
            val held = if (token == null || answer == null) null else Loaded(answer, token)
            if (held != null && isFresh(held.token, minFresh)) {
                held.token.uses += 1
                return held
            }
            held
        }
        try {
            return await(join(action, minFresh, if (isUsable(held)) 1 else MAX_ATTEMPTS))
        } catch (error: TokenError) {
            if (held != null && isUsable(held) && error.retryable) return held
            throw error
        }
    }

    private fun isFresh(token: Token, minFresh: Long) =
        clock.monotonic() < token.refreshAt && token.remainingMs() >= minFresh * 1000 && token.uses < MAX_USES

    private fun isUsable(held: Loaded?): Boolean = synchronized(lock) {
        held != null && held.token === token && ended == null && held.token.remainingMs() > MIN_LIFE_MS
    }

    private fun join(action: String, minFresh: Long, attempts: Int): FutureTask<Loaded> = synchronized(lock) {
        val running = flights[action]
        if (running != null && running.minFresh >= minFresh) return running.task
        val directives = if (minFresh > 0) mapOf("Cache-Control" to "min-fresh=$minFresh") else emptyMap()
        lateinit var task: FutureTask<Loaded>
        task = FutureTask(Callable {
            try {
                request(action, directives, attempts)
            } finally {
                synchronized(lock) { if (flights[action]?.task === task) flights.remove(action) }
            }
        })
        flights[action] = Flight(minFresh, task)
        threads.execute(task)
        task
    }

    /** Gets a new token. Until that succeeds, no call returns the old one. */
    private fun renew(): Loaded {
        val task = synchronized(lock) {
            renewal ?: startRenewal().also { renewal = it }
        }
        return await(task)
    }

    private fun startRenewal(): FutureTask<Loaded> {
        ended = ended ?: token?.clientAuthToken ?: ""
        lateinit var task: FutureTask<Loaded>
        task = FutureTask(Callable {
            try {
                requestNew()
            } finally {
                synchronized(lock) { if (renewal === task) renewal = null }
            }
        })
        threads.execute(task)
        return task
    }

    private fun requestNew(): Loaded {
        val generation = synchronized(lock) { generation }
        val loaded = when (options.profile) {
            Profile.UPI -> request(UPDATE_AUTH, emptyMap(), MAX_ATTEMPTS)
            Profile.EC -> request(PROCESS, emptyMap(), MAX_ATTEMPTS, "&new_token=true")
        }
        synchronized(lock) { if (generation == this.generation) this.ended = null }
        return loaded
    }

    /** The result of a task. A task that does not end, such as in `accessToken`, is left alone. */
    private fun <T> await(task: FutureTask<T>): T {
        try {
            return task.get(options.timeoutMs, TimeUnit.MILLISECONDS)
        } catch (failed: ExecutionException) {
            throw failed.cause as? TokenError ?: TokenError("internal", 0, false, cause = failed.cause)
        } catch (late: TimeoutException) {
            synchronized(lock) {
                flights.values.removeAll { it.task === task }
                if (renewal === task) renewal = null
                if (accessTokenRenewal === task) accessTokenRenewal = null
            }
            throw TokenError("timeout", 0, true, cause = late)
        }
    }

    private fun request(
        action: String,
        directives: Map<String, String>,
        attempts: Int,
        option: String = "",
    ): Loaded {
        val (generation, order) = synchronized(lock) { Pair(generation, ++requests) }
        val platform = options.platform?.let { "&platform=$it" } ?: ""
        val call = Call("GET", "/me/sdk-payload?action=$action$platform$option", directives, attempts)
        val (answer, sentAt) = call(call, ::Answer)
        // Its life counts from the sending of the request, so it is never too long.
        val token = Token(
            answer.payload.getString(CLIENT_AUTH_TOKEN),
            answer.routingId,
            answer.tenantId,
            expiresAt = sentAt + answer.expiresIn * 1000,
            refreshAt = sentAt + answer.refreshAfter * 1000,
            order,
            clock,
        )
        val isCurrent = synchronized(lock) {
            (generation == this.generation).also {
                if (it) answers[action] = answer
                if (it && (this.token?.order ?: 0) < order) this.token = token
            }
        }
        return if (isCurrent) Loaded(answer, token) else request(action, directives, attempts, option)
    }

    private fun envelope(loaded: Loaded, own: JSONObject): JSONObject {
        val (answer, token) = loaded
        val payload = JSONObject()
        for (key in answer.payload.keys()) payload.put(key, answer.payload.get(key))
        for (key in own.keys()) payload.put(key, own.get(key))
        payload.put(CLIENT_AUTH_TOKEN, token.clientAuthToken)
        if (answer.payload.has("customerId")) payload.put("customerId", answer.payload.get("customerId"))
        if (answer.payload.has("authExpiry")) payload.put("authExpiry", token.authExpiry())
        val envelope = JSONObject().put("requestId", uuid()).put("service", answer.service).put("payload", payload)
        return if (answer.betaAssets) envelope.put("betaAssets", true) else envelope
    }

    /** Sends a request until it succeeds, must not be repeated, or time is up. */
    private fun <T> call(call: Call, read: (HttpReply) -> T): Pair<T, Long> {
        val generation = synchronized(lock) { generation }
        val deadline = clock.monotonic() + options.timeoutMs
        var renew = false
        var isRenewed = false
        var attempt = 1
        while (true) {
            val error = try {
                return exchange(call, renew, deadline, read)
            } catch (error: TokenError) {
                error
            }
            renew = isAccessTokenRejected(error) && !isRenewed
            if (renew) {
                isRenewed = true
                continue
            }
            if (isAccessTokenRejected(error)) logOut(generation)
            val wait = waitMs(error, attempt)
            if (!error.retryable || attempt >= call.attempts || clock.monotonic() + wait >= deadline) throw error
            clock.sleep(wait)
            attempt += 1
        }
    }

    private fun logOut(generation: Int) {
        val isFirst = synchronized(lock) { (generation == this.generation).also { if (it) invalidate() } }
        if (isFirst) options.onLogout()
    }

    /** Sends a request once. */
    private fun <T> exchange(call: Call, renew: Boolean, deadline: Long, read: (HttpReply) -> T): Pair<T, Long> {
        val accessToken = accessToken(renew)
        val headers = mapOf("Authorization" to "Bearer $accessToken", "Accept" to "application/json")
        val sentAt = clock.monotonic()
        val url = options.baseUrl.trimEnd('/') + call.path
        val request = HttpRequest(call.method, url, headers + call.directives, max(deadline - sentAt, 1))
        val reply = try {
            options.transport.send(request)
        } catch (late: SocketTimeoutException) {
            throw TokenError("timeout", 0, true, cause = late)
        } catch (failed: IOException) {
            throw TokenError("network", 0, true, cause = failed)
        }
        failure(reply)?.let { throw it }
        try {
            return Pair(read(reply), sentAt)
        } catch (failed: JSONException) {
            // Such as the page of a public wireless network.
            throw TokenError("unexpected_response", reply.status, true, cause = failed)
        }
    }

    /** The access token. Calls at the same time share one renewal. */
    private fun accessToken(renew: Boolean): String = try {
        if (renew) await(renewAccessToken()) else options.accessToken(false)
    } catch (error: TokenError) {
        throw TokenError("access_token", 0, false, cause = error.cause ?: error)
    } catch (@Suppress("TooGenericExceptionCaught") failed: Exception) {
        throw TokenError("access_token", 0, false, cause = failed)
    }

    private fun renewAccessToken(): FutureTask<String> = synchronized(lock) {
        accessTokenRenewal?.let { return it }
        lateinit var task: FutureTask<String>
        task = FutureTask(Callable {
            try {
                options.accessToken(true)
            } finally {
                synchronized(lock) { if (accessTokenRenewal === task) accessTokenRenewal = null }
            }
        })
        accessTokenRenewal = task
        threads.execute(task)
        task
    }
}

/** The body of GET /me/sdk-payload. */
private class Answer(reply: HttpReply) {
    private val json = JSONObject(reply.text)
    val payload: JSONObject = json.getJSONObject("payload").also { it.getString(CLIENT_AUTH_TOKEN) }
    val service: String = json.getString("service")
    val betaAssets = json.optBoolean("betaAssets")
    val tenantId: String? = if (json.has("tenant_id")) json.getString("tenant_id") else null
    val expiresIn = json.getLong("expires_in")
    val refreshAfter = json.getLong("refresh_after")
    val routingId: String = json.optString("routing_id")
}

private data class Loaded(val answer: Answer, val token: Token)

private class Flight(val minFresh: Long, val task: FutureTask<Loaded>)

private class Call(val method: String, val path: String, val directives: Map<String, String>, val attempts: Int)

private const val INITIATE = "initiate"
private const val PROCESS = "process"
private const val UPDATE_AUTH = "updateAuth"
private const val CLIENT_AUTH_TOKEN = "clientAuthToken"

/** `session_expired` is documented; one app sees `session_expiry`. */
private val EXPIRY_EVENTS = setOf("session_expired", "session_expiry")

/** Their token is that of Create Order. */
private val ORDER_ACTIONS = setOf("cardTxn", "nbTxn", "walletTxn", "upiTxn")
private const val MAX_ATTEMPTS = 4

/** Rounds of `timeoutMs` in which `attach` tries to answer an event. */
private const val MAX_ROUNDS = 3

/** A token with less life left is not used, also if there is no other. */
private const val MIN_LIFE_MS = 10_000L

/** Juspay limits the uses of a token. The service replaces it in time, if it sees about a third of the uses. */
private const val MAX_USES = 3

/** A larger answer is not from the service. */
private const val MAX_BYTES = 256 * 1024

private val threads = Executors.newCachedThreadPool { task ->
    Thread(task, "juspay-bff").apply { isDaemon = true }
}

/** The only two codes about the user's session. A 401 of a proxy in front has no code. */
private fun isAccessTokenRejected(error: TokenError) =
    error.status == 401 && (error.code == "invalid_token" || error.code == "expired_token")

/** `null` for a success. */
private fun failure(reply: HttpReply): TokenError? {
    if (reply.status == 200 || reply.status == 202) return null
    try {
        val problem = JSONObject(reply.text)
        val retryAfter = problem.optDouble("retry_after").takeUnless { it.isNaN() }
        val requestId = if (problem.isNull("request_id")) null else problem.getString("request_id")
        return TokenError(
            problem.getString("code"), reply.status, problem.getBoolean("retryable"), retryAfter, requestId,
        )
    } catch (failed: JSONException) {
        val retryAfter = reply.retryAfter?.toDoubleOrNull()
        return TokenError("unexpected_response", reply.status, reply.status >= 500, retryAfter, cause = failed)
    }
}

/** What the service says, else 0.5 s, 1 s, 2 s, 4 s, up to half of it less. */
private fun waitMs(error: TokenError, attempt: Int): Long {
    val backoff = min(500.0 * (1 shl (attempt - 1)), 4000.0) * (1 - Math.random() / 2)
    return ceil(error.retryAfter?.times(1000) ?: backoff).toLong()
}

private fun uuid() = UUID.randomUUID().toString()

/** The phone's clocks. */
object PhoneClock : Clock {
    /** Android's clock that counts the time in which the phone sleeps. `System.nanoTime` does not. */
    private val elapsedRealtime = try {
        Class.forName("android.os.SystemClock").getMethod("elapsedRealtime")
    } catch (_: ReflectiveOperationException) {
        null
    }

    override fun monotonic() = elapsedRealtime?.invoke(null) as Long? ?: (System.nanoTime() / 1_000_000)

    override fun wall() = System.currentTimeMillis()

    override fun sleep(ms: Long) = Thread.sleep(ms)
}

/**
 * Android's and Java's own HTTP client. `useCaches` stays true: without it, Java sends `Cache-Control: no-cache`,
 * which demands a new token.
 */
object UrlConnectionTransport : Transport {
    override fun send(request: HttpRequest): HttpReply {
        val connection = URL(request.url).openConnection() as HttpURLConnection
        connection.requestMethod = request.method
        connection.instanceFollowRedirects = false
        connection.connectTimeout = min(request.timeoutMs, Int.MAX_VALUE.toLong()).toInt()
        connection.readTimeout = connection.connectTimeout
        for ((name, value) in request.headers) connection.setRequestProperty(name, value)
        try {
            if (request.method == "POST") {
                connection.doOutput = true
                connection.outputStream.close()
            }
            val status = connection.responseCode
            val stream = if (status >= 400) connection.errorStream else connection.inputStream
            return HttpReply(status, connection.getHeaderField("Retry-After"), text(stream))
        } catch (failed: IOException) {
            connection.disconnect()
            throw failed
        }
    }

    private fun text(stream: InputStream?): String {
        val bytes = ByteArrayOutputStream()
        val part = ByteArray(8192)
        while (stream != null) {
            val length = stream.read(part)
            if (length < 0) break
            bytes.write(part, 0, length)
            if (bytes.size() > MAX_BYTES) throw IOException("the answer is too large")
        }
        return bytes.toString("UTF-8")
    }
}
