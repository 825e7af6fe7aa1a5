/*
 * A stand-in for an Android app: runs the Kotlin client by the commands of scenarios.py, one JSON document a
 * line on standard input, and reports what the app and its SDK get.
 */
package juspaybff.test

import android.os.SystemClock
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.SynchronousQueue
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicLong
import juspaybff.Attachment
import juspaybff.Clock
import juspaybff.EcApp
import juspaybff.Options
import juspaybff.PhoneClock
import juspaybff.Profile
import juspaybff.Token
import juspaybff.TokenError
import juspaybff.TokenSource
import kotlin.concurrent.thread
import org.json.JSONObject

private val asked = ConcurrentHashMap<Int, SynchronousQueue<JSONObject>>()
private val asks = AtomicInteger()
private val wallOffset = AtomicLong()

@Synchronized
private fun write(message: JSONObject) {
    println(message.toString())
    System.out.flush()
}

private fun ask(question: JSONObject): JSONObject {
    val number = asks.incrementAndGet()
    val answer = SynchronousQueue<JSONObject>()
    asked[number] = answer
    write(question.put("ask", number))
    return answer.take()
}

private object TestClock : Clock by PhoneClock {
    override fun wall() = System.currentTimeMillis() + wallOffset.get()

    override fun sleep(ms: Long) {
        ask(JSONObject().put("what", "sleep").put("ms", ms))
        SystemClock.advanced.addAndGet(ms)
    }
}

private fun failure(error: Throwable): JSONObject = when (error) {
    is TokenError -> JSONObject()
        // A crash report has the causes too: what the server sent must not be in them.
        .put("code", if ("<html>" in error.stackTraceToString()) "the server's text" else error.code)
        .put("status", error.status)
        .put("retryable", error.retryable)
        .put("retryAfter", error.retryAfter ?: JSONObject.NULL)
    else -> JSONObject().put("code", "exception").put("message", error.toString())
}

private fun accessToken(renew: Boolean): String {
    val answer = ask(JSONObject().put("what", "accessToken").put("renew", renew))
    check(answer.opt("value") is String) { "no access token" }
    return answer.getString("value")
}

private fun source(config: JSONObject): TokenSource {
    val ec = config.optJSONObject("ec")?.let {
        EcApp(it.getString("merchantId"), it.getString("clientId"), it.getString("customerId"), it.getString("environment"))
    }
    return TokenSource(
        Options(
            config.getString("baseUrl"),
            ::accessToken,
            if (config.getString("profile") == "ec") Profile.EC else Profile.UPI,
            platform = if (config.has("platform")) config.getString("platform") else null,
            ec = ec,
            onLogout = { write(JSONObject().put("tell", "logout")) },
            onError = {
                write(JSONObject().put("tell", "error").put("error", failure(it)))
                check(!config.optBoolean("appFails")) { "the app's fault" }
            },
            timeoutMs = config.optLong("timeoutMs", 10_000),
            clock = TestClock,
        ),
    )
}

private fun shown(token: Token) = JSONObject()
    .put("token", token.clientAuthToken)
    .put("remainingMs", token.remainingMs())
    .put("authExpiry", token.authExpiry())
    .put("routingId", token.routingId)

private class App(private val tokens: TokenSource, private val fails: Boolean) {
    private var attachment: Attachment? = null

    fun run(command: JSONObject): Any? = when (command.getString("do")) {
        "fetch" -> shown(tokens.fetch(command.optLong("minFresh")))
        "refresh" -> shown(tokens.refresh())
        "initiate" -> tokens.initiate()
        "process" -> tokens.process(command.getJSONObject("own"), command.optLong("minFresh"))
        "prepare" -> tokens.prepare().let { null }
        "invalidate" -> tokens.invalidate().let { null }
        "wake" -> tokens.wake().let { null }
        "attach" -> {
            attachment = tokens.attach {
                check(!fails) { "the app's fault" }
                write(JSONObject().put("tell", "process").put("envelope", it))
            }
            null
        }
        "detach" -> attachment?.detach().let { null }
        "event" -> attachment?.onEvent(command.getJSONObject("event")).let { null }
        "set_wall_clock" -> wallOffset.set(command.getLong("ms")).let { null }
        "advance" -> SystemClock.advanced.addAndGet(command.getLong("ms")).let { null }
        else -> null
    }
}

/** Until each earlier command has ended, or waits for an answer. */
private fun settle(commands: List<Thread>) {
    val states = setOf(Thread.State.WAITING, Thread.State.TIMED_WAITING, Thread.State.TERMINATED)
    while (commands.any { it.state !in states }) Thread.yield()
}

fun main(arguments: Array<String>) {
    val config = JSONObject(arguments[0])
    val app = App(source(config), config.optBoolean("appFails"))
    val commands = ArrayList<Thread>()
    for (line in generateSequence(::readlnOrNull)) {
        val command = JSONObject(line)
        if (command.getString("do") == "answer") {
            asked.remove(command.getInt("ask"))?.put(command)
            continue
        }
        if (command.getString("do") == "nothing") settle(commands)
        commands += thread {
            val answer = JSONObject().put("id", command.getInt("id"))
            try {
                answer.put("result", app.run(command) ?: JSONObject.NULL)
            } catch (error: Exception) {
                answer.put("error", failure(error))
            }
            write(answer)
        }
    }
}
