{{/* The name of all objects: fullnameOverride, or the release's name with the chart's. */}}
{{- define "juspay-bff.name" -}}
{{- $app := include "juspay-bff.app" . }}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $app) (contains $app .Release.Name) }}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* The label app.kubernetes.io/name. */}}
{{- define "juspay-bff.app" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "juspay-bff.labels" -}}
{{ include "juspay-bff.pods" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select all pods. */}}
{{- define "juspay-bff.pods" -}}
app.kubernetes.io/name: {{ include "juspay-bff.app" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels that select the pods that serve requests. */}}
{{- define "juspay-bff.server" -}}
{{ include "juspay-bff.pods" . }}
app.kubernetes.io/component: server
{{- end }}

{{/* Labels that select the pod of Valkey, and those of its objects. */}}
{{- define "juspay-bff.valkeyPods" -}}
app.kubernetes.io/name: {{ include "juspay-bff.app" . }}-valkey
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "juspay-bff.valkeyLabels" -}}
{{ include "juspay-bff.valkeyPods" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The address of the shared tier's server. */}}
{{- define "juspay-bff.sharedUrl" -}}
{{- if not (or .Values.shared.url .Values.valkey.enabled) }}
{{- fail "shared.enabled needs shared.url, or valkey.enabled to try it out" }}
{{- end }}
{{- .Values.shared.url | default (printf "redis://juspay-bff@%s-valkey" (include "juspay-bff.name" .)) }}
{{- end }}

{{/* All settings, as YAML: the values and, with the shared tier, those of its server. */}}
{{- define "juspay-bff.allSettings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- with .Values.shared }}
{{- if .enabled }}
{{- $files := "/run/secrets/juspay-bff-shared" }}
{{- $shared := dict "url" (include "juspay-bff.sharedUrl" $) }}
{{- $shared = merge $shared (dict "key_file" (printf "%s/keys" $files) "name_key_file" (printf "%s/name-key" $files)) }}
{{- if ne .topology "single" }}
{{- $_ := set $shared "topology" .topology }}
{{- end }}
{{- if .password }}
{{- $_ := set $shared "password_file" (printf "%s/password" $files) }}
{{- end }}
{{- if .ca }}
{{- $_ := set $shared "ca_file" (printf "%s/ca.crt" $files) }}
{{- end }}
{{- $settings = merge (dict "shared" $shared) $settings }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{/* The port of settings.server.listen or admin_listen. Arguments: the root context and the key. */}}
{{- define "juspay-bff.port" -}}
{{- $default := get (dict "listen" "0.0.0.0:8080" "admin_listen" "0.0.0.0:9464") .key }}
{{- $addresses := dig "server" .key $default .root.Values.settings }}
{{- $port := "" }}
{{- range kindIs "slice" $addresses | ternary $addresses (splitList "," (toString $addresses)) }}
{{- $port = $port | default (regexFind "^(?:0\\.0\\.0\\.0|\\[::\\]):[0-9]+$" (trim .) | splitList ":" | last) }}
{{- end }}
{{- if not $port }}
{{- fail (printf "settings.server.%s has no address that other pods reach: add one, such as %q" .key $default) }}
{{- end }}
{{- $port }}
{{- end }}

{{/* The path in settings.server.public_url, below which the service accepts its routes. */}}
{{- define "juspay-bff.path" -}}
{{ (urlParse .Values.settings.server.public_url).path | trimSuffix "/" }}
{{- end }}

{{- define "juspay-bff.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "juspay-bff.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/*
Settings as environment variables, one per line: JUSPAY_BFF__SECTION__KEY: "value", lists comma-separated.
Arguments: the name's prefix and the value.
*/}}
{{- define "juspay-bff.settings" -}}
{{- range $key, $value := .value }}
{{- $name := printf "%s__%s" $.name (upper $key) }}
{{- if kindIs "map" $value }}
{{- include "juspay-bff.settings" (dict "name" $name "value" $value) }}
{{- else if kindIs "slice" $value }}
{{ $name }}: {{ join "," $value | quote }}
{{- else if kindIs "string" $value }}
{{ $name }}: {{ $value | quote }}
{{- else }}
{{ $name }}: {{ toJson $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The hosts that the service calls, as a JSON list: Juspay, the issuers, and networkPolicy.extraHosts. */}}
{{- define "juspay-bff.hosts" -}}
{{- $addresses := list .Values.settings.juspay.base_url }}
{{- range .Values.settings.auth.issuers }}
{{- $addresses = concat $addresses (list .issuer .jwks_url .introspection_url) }}
{{- if kindIs "string" .discovery }}
{{- $addresses = append $addresses .discovery }}
{{- end }}
{{- end }}
{{- $hosts := list }}
{{- range compact $addresses }}
{{- $hosts = append $hosts (urlParse .).hostname }}
{{- end }}
{{- concat $hosts .Values.networkPolicy.extraHosts | uniq | toJson }}
{{- end }}

{{/*
The names that pods may resolve, as a JSON list: the hosts, and those that other network policies admit: istiod, also
with the search domain, the HTTP proxy, and the shared tier's server.
*/}}
{{- define "juspay-bff.dnsNames" -}}
{{- $names := include "juspay-bff.hosts" . | fromJsonArray }}
{{- if and .Values.istio.enabled (eq .Values.istio.mode "sidecar") }}
{{- $istiod := printf "istiod.%s.svc" .Values.istio.namespace }}
{{- $names = concat (list $istiod (printf "%s.cluster.local" $istiod)) $names }}
{{- end }}
{{- $proxy := (urlParse (dig "juspay" "egress_proxy" "" .Values.settings)).hostname }}
{{- /* A name, not an address. */}}
{{- with regexFind "^[^:]*[a-zA-Z][^:]*$" $proxy }}
{{- $names = append $names . }}
{{- end }}
{{- if .Values.shared.enabled }}
{{- with regexFind "^[^:]*[a-zA-Z][^:]*$" (urlParse (include "juspay-bff.sharedUrl" .)).hostname }}
{{- /* A name without a dot is resolved in the pod's namespace. */}}
{{- $names = append $names (contains "." . | ternary . (printf "%s.%s.svc.cluster.local" . $.Release.Namespace)) }}
{{- end }}
{{- end }}
{{- uniq $names | toJson }}
{{- end }}

{{/* The peers of a NetworkPolicy rule, as a list. Arguments: peers, and the namespace to use without them. */}}
{{- define "juspay-bff.peers" -}}
{{- $namespace := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .namespace)) }}
{{- .peers | default (list $namespace) | toYaml }}
{{- end }}

{{/* A peer's selectors as Cilium labels, as a JSON object. */}}
{{- define "juspay-bff.ciliumLabels" -}}
{{- $labels := dict }}
{{- range $key, $value := dig "namespaceSelector" "matchLabels" dict . }}
{{- if eq $key "kubernetes.io/metadata.name" }}
{{- $_ := set $labels "k8s:io.kubernetes.pod.namespace" $value }}
{{- else }}
{{- $_ := set $labels (printf "k8s:io.cilium.k8s.namespace.labels.%s" $key) $value }}
{{- end }}
{{- end }}
{{- range $key, $value := dig "podSelector" "matchLabels" dict . }}
{{- $_ := set $labels (printf "k8s:%s" $key) $value }}
{{- end }}
{{- toJson $labels }}
{{- end }}

{{/* Labels as a Calico selector. */}}
{{- define "juspay-bff.calicoSelector" -}}
{{- $all := list }}
{{- range $key, $value := . }}
{{- $all = append $all (printf "%s == '%s'" $key $value) }}
{{- end }}
{{- join " && " $all }}
{{- end }}

{{/* The container of the server and of the test. Arguments: the root context and the program's arguments. */}}
{{- define "juspay-bff.container" -}}
name: juspay-bff
{{- with .root.Values.image }}
image: "{{ .repository }}:{{ .tag | default $.root.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}"
{{- end }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .arguments }}
envFrom:
  - configMapRef: {name: {{ include "juspay-bff.name" .root }}-site}
{{- with .root.Values.extraEnv }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .root.Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: juspay-bff-settings, mountPath: /etc/juspay-bff, readOnly: true}
  # The whole Secret: a subPath mount is not updated when the Secret changes.
  - {name: juspay-bff-secrets, mountPath: /run/secrets/juspay-bff, readOnly: true}
  {{- if .root.Values.shared.enabled }}
  - {name: juspay-bff-shared, mountPath: /run/secrets/juspay-bff-shared, readOnly: true}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The security context of all pods. */}}
{{- define "juspay-bff.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- range $key, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod spec of the server and of the test. */}}
{{- define "juspay-bff.pod" -}}
serviceAccountName: {{ include "juspay-bff.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
# Resolve names as written, without trying the cluster's search domains first.
dnsConfig:
  options: [{name: ndots, value: "1"}]
securityContext: {{- include "juspay-bff.podSecurityContext" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: juspay-bff-settings
    configMap: {name: {{ include "juspay-bff.name" . }}-settings}
  - name: juspay-bff-secrets
    secret: {secretName: {{ .Values.existingSecret }}, defaultMode: 0440}
  {{- if .Values.shared.enabled }}
  - name: juspay-bff-shared
    secret: {secretName: {{ .Values.shared.existingSecret }}, defaultMode: 0440}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
