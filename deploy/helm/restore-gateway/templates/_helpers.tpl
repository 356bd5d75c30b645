{{- define "restore-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{ include "restore-gateway.selector" . }}
{{- end }}

{{- define "restore-gateway.selector" -}}
app.kubernetes.io/name: restore-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "restore-gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Whether the ledger is a database that several replicas share, as far as can be seen from here: the environment's word comes
before that of the settings, and one that is kept in a Secret is believed. */}}
{{- define "restore-gateway.shared" -}}
{{- $shared := regexMatch "(?m)^[^#\\n]*\\burl\\s*=\\s*[\"']postgres(ql)?://" .Values.settings }}
{{- range .Values.extraEnv }}
{{- if eq .name "RESTORE_GATEWAY_LEDGER__URL" }}
{{- $shared = or (hasKey . "valueFrom") (regexMatch "^postgres(ql)?://" (.value | default "")) }}
{{- end }}
{{- end }}
{{- if $shared }}yes{{ end -}}
{{- end }}

{{/* One process for a ledger of its own, however many for a database. */}}
{{- define "restore-gateway.single" -}}
{{- if or .Values.persistence.enabled (eq .Values.mode "sidecar") (not (include "restore-gateway.shared" .)) }}yes{{ end -}}
{{- end }}
